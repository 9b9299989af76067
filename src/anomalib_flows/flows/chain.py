"""Flows made of other flows: in turn, side by side, or of the first channels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from anomalib_flows.flows.bijection import Bijection, Condition

Tensors = tuple[Tensor, ...]


class Chain(Bijection):
    r"""Apply bijections in turn, :math:`z = f_n(\dots f_1(x))`; log-determinants add up.

    Args:
        steps: The bijections, in the order in which they are applied.

    Example:
        >>> from anomalib_flows.flows import GlobalAffine, Permutation
        >>> flow = Chain(GlobalAffine(4), Permutation(4))
        >>> x = torch.randn(2, 4, 3, 3)
        >>> z, _ = flow(x)
        >>> bool(torch.allclose(flow.inverse(z)[0], x, atol=1e-6))
        True
    """

    steps: Any  # a ModuleList of bijections, which its type cannot say

    def __init__(self, *steps: Bijection) -> None:
        super().__init__()
        if not steps:
            raise ValueError("A chain needs at least one step.")
        self.steps = nn.ModuleList(steps)

    def forward(self, x: Any, condition: Condition | None = None) -> tuple[Any, Tensor]:
        """Return z and the sum of the log-determinants."""
        x, total = self.steps[0](x, condition)
        for step in self.steps[1:]:
            x, log_det = step(x, condition)
            total = total + log_det
        return x, total

    def inverse(self, z: Any, condition: Condition | None = None) -> tuple[Any, Tensor]:
        """Return x and the sum of the log-determinants."""
        *others, last = self.steps
        z, total = last.inverse(z, condition)
        for step in reversed(others):
            z, log_det = step.inverse(z, condition)
            total = total + log_det
        return z, total


class Parallel(Bijection):
    r"""Apply one bijection to each tensor, :math:`z_i = f_i(x_i)`; log-determinants add up.

    Args:
        flows: The bijections, one for each tensor.

    Example:
        >>> from anomalib_flows.flows import GlobalAffine, Permutation
        >>> flow = Parallel(GlobalAffine(4), Permutation(2))
        >>> z, log_det = flow((torch.randn(5, 4, 8, 8), torch.randn(5, 2, 4, 4)))
        >>> [tuple(part.shape) for part in z], tuple(log_det.shape)
        ([(5, 4, 8, 8), (5, 2, 4, 4)], (5,))
    """

    flows: Any  # a ModuleList of bijections, which its type cannot say

    def __init__(self, *flows: Bijection) -> None:
        super().__init__()
        if not flows:
            raise ValueError("Parallel needs at least one flow.")
        self.flows = nn.ModuleList(flows)

    def forward(self, x: Tensors, condition: Condition | None = None) -> tuple[Tensors, Tensor]:
        """Return a tuple z and the sum of the log-determinants."""
        return add_up([flow(part, condition) for flow, part in zip(self.flows, x, strict=True)])

    def inverse(self, z: Tensors, condition: Condition | None = None) -> tuple[Tensors, Tensor]:
        """Return a tuple x and the sum of the log-determinants."""
        return add_up([flow.inverse(part, condition) for flow, part in zip(self.flows, z, strict=True)])


class Split(Bijection):
    r"""Apply a flow to the first channels and emit the others, :math:`z = (f(x_1), x_2)`.

    The emitted channels are the last tensor of the tuple z. If f itself returns a tuple, z has its tensors first, so
    that splits within splits make a U-shaped flow.

    Args:
        kept: Number of channels that the flow is applied to.
        flow: The flow f of these channels.

    References:
        Density estimation using Real NVP (Dinh et al., 2017), https://arxiv.org/abs/1605.08803, section 3.6.

    Example:
        >>> from anomalib_flows.flows import GlobalAffine
        >>> z, _ = Split(4, Split(2, GlobalAffine(2)))(torch.randn(1, 6, 8, 8))
        >>> [part.shape[1] for part in z]
        [2, 2, 2]
    """

    def __init__(self, kept: int, flow: Bijection) -> None:
        super().__init__()
        if kept < 1:
            raise ValueError(f"A split keeps at least 1 channel, not {kept}.")
        self.kept, self.flow = kept, flow

    def forward(self, x: Tensor, condition: Condition | None = None) -> tuple[Tensors, Tensor]:
        """Return the tuple z and the log-determinant of the flow."""
        z, log_det = self.flow(x[:, : self.kept], condition)
        return (*(z if isinstance(z, tuple) else (z,)), x[:, self.kept :]), log_det

    def inverse(self, z: Tensors, condition: Condition | None = None) -> tuple[Tensor, Tensor]:
        """Return x and the log-determinant of the flow's inverse."""
        *inner, emitted = z
        x, log_det = self.flow.inverse(inner[0] if len(inner) == 1 else tuple(inner), condition)
        return torch.cat((x, emitted), dim=1), log_det


def add_up(results: list[tuple[Tensor, Tensor]]) -> tuple[Tensors, Tensor]:
    """Return all tensors, and the sum of their log-determinants."""
    tensors, log_dets = zip(*results, strict=True)
    return tensors, torch.stack(log_dets).sum(0)
