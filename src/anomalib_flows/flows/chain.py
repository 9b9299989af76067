"""Flows of several steps."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from anomalib_flows.flows.bijection import Bijection, Condition


class Chain(Bijection):
    r"""Apply bijections in turn, :math:`z = f_n(\dots f_1(x))`; log-determinants add up.

    Args:
        steps: The bijections, in the order in which they are applied.

    Example:
        >>> import torch
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
