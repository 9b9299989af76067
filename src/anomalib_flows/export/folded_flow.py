"""A flow of the known steps, folded for inference: one direction, with everything constant computed beforehand."""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anomalib_flows.flows import Chain, Condition, DenseSubnet, SoftPermutation
from anomalib_flows.models.components.positions import PositionalCode


class FoldedFlow(nn.Module):
    r"""A chain of coupling, scaling and permutation steps, for feature maps (B, C, h, w).

    The log-determinants of the scalings are one constant. Unless channels must keep their order, the last permutation
    is left out, since likelihoods do not depend on it.

    Args:
        flow: A chain of steps as ``FastFlow`` and ``CFlow`` make them.
        code: Positional code that the flow is conditioned on, if any.
        ordered: Whether the last permutation is kept.

    Example:
        >>> from anomalib_flows.flows import AffineCoupling, GlobalAffine, Permutation
        >>> step = Chain(AffineCoupling(4, lambda i, o: DenseSubnet(i, o)), GlobalAffine(4), Permutation(4))
        >>> z, log_det = FoldedFlow(Chain(step)).on_map(torch.randn(1, 4, 2, 3))
        >>> z.shape, log_det.shape
        (torch.Size([1, 4, 2, 3]), torch.Size([1, 1, 2, 3]))
    """

    steps: Any  # a ModuleList, which its type cannot say

    def __init__(self, flow: Chain, code: PositionalCode | None = None, *, ordered: bool = False) -> None:
        super().__init__()
        last = len(flow.steps) - 1
        self.steps = nn.ModuleList(FoldedStep(s, code, i == last and not ordered) for i, s in enumerate(flow.steps))
        scales = torch.cat([step.steps[1].scale.detach().double() for step in flow.steps])
        self.log_det = float(scales.log().sum())

    def forward(self, x: Tensor, condition: Condition | None = None) -> tuple[Tensor, Tensor]:
        """Return z (B, C, h, w) and the log-determinant (B,), as a bijection does."""
        z, log_det = self.on_map(x)
        return z, log_det.flatten(1).sum(1)

    def on_map(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return z (B, C, h, w) and the log-determinant at each position, (B, 1, h, w)."""
        log_dets = []
        for step in self.steps:
            x, log_scale = step(x)
            log_dets.append(log_scale.sum(1, keepdim=True))
        return x, torch.stack(log_dets).sum(0) + self.log_det


class FoldedStep(nn.Module):
    r"""A coupling with its scaling and permutation folded into it.

    With the scaling's :math:`\sigma` and b, of the two parts of the channels,

    .. math::
        z_1 = \sigma_1 x_1 + b_1, \quad z_2 = x_2 \odot \exp(s + \log \sigma_2) + t', \quad t' = \sigma_2 t + b_2

    where the last layer, which gives t', takes :math:`\sigma_2` and :math:`b_2` into its weights. A rotation takes the
    whole scaling into its own weights; if ``unordered``, permutations are left out. The linear image of a condition is
    the sum of a term of the row and one of the column, both constant.
    """

    scale: Tensor
    offset: Tensor
    log_scale: Tensor
    of_row: Tensor
    of_column: Tensor
    minus_column: Tensor

    def __init__(self, step: Chain, code: PositionalCode | None, unordered: bool) -> None:
        super().__init__()
        coupling, scaling, permutation = step.steps
        self.sizes, self.clamp = coupling.sizes, coupling.clamp
        sigma, offset = scaling.scale.detach().double(), scaling.offset.detach().double()
        self.rotation = None
        if isinstance(permutation, SoftPermutation) and not unordered:
            turn = permutation.rotation.double()
            self.rotation = pointwise_convolution(turn * sigma, turn @ offset)
            sigma, offset = torch.ones_like(sigma), torch.zeros_like(offset)
        self.permutation = None if unordered or self.rotation else Reordering(permutation.order)
        (sigma_1, sigma_2), (offset_1, offset_2) = (values.split(self.sizes) for values in (sigma, offset))
        self.register_buffer("scale", as_map(sigma_1))
        self.register_buffer("offset", as_map(offset_1))
        self.register_buffer("log_scale", as_map(sigma_2.log()))
        inner, outer = subnet_convolutions(coupling.subnet)
        self.inner, self.outer = inner, with_scaling(outer, sigma_2, offset_2)
        self.conditioned = code is not None
        if code is not None:
            of_column, of_row = condition_terms(coupling.subnet, code)
            self.register_buffer("of_row", of_row)
            self.register_buffer("of_column", of_column)
            self.register_buffer("minus_column", -of_column)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return z and the coupling's log-scales, (B, C, h, w) and (B, C // 2, h, w)."""
        x1, x2 = torch.split(x, self.sizes, dim=1)
        a, t = torch.split(self.outer(self.hidden(x1)), self.sizes[1], dim=1)
        s = self.clamp * torch.tanh(a)
        z1 = x1 if self.rotation else x1 * self.scale + self.offset
        z = torch.cat((z1, x2 * torch.exp(s + self.log_scale) + t), dim=1)
        if self.rotation:
            return self.rotation(z), s
        return self.permutation(z) if self.permutation else z, s

    def hidden(self, x1: Tensor) -> Tensor:
        """Return the first layer's output."""
        hidden = self.inner(x1)
        if not self.conditioned:
            return torch.relu(hidden)
        # relu(h + r + c), in a form that keeps converters from adding r and c to a table of all positions, which would
        # be a large part of the file.
        return torch.maximum(hidden + self.of_row, self.minus_column) + self.of_column


class Reordering(nn.Module):
    """Channels in another order; finite values are passed on exactly.

    With few channels this is a convolution with ones and zeros: OpenVINO's convolutions use channels last, its gather
    needs them first. Transposing 64 channels of 64 x 64 positions takes 1.5 ms on a core, the convolution 0.4 ms.

    Args:
        order: Number of the old channel for each new one, (C,).
    """

    selected: Tensor

    FEW = 64
    """Number of channels up to which OpenVINO 2026.4's CPU plugin transposes maps in the slow way."""

    def __init__(self, order: Tensor) -> None:
        super().__init__()
        self.few = len(order) <= self.FEW
        self.register_buffer("selected", torch.eye(len(order))[order][:, :, None, None] if self.few else order)

    def forward(self, x: Tensor) -> Tensor:
        """Reorder maps (B, C, h, w)."""
        return F.conv2d(x, self.selected) if self.few else x.index_select(1, self.selected)


def subnet_convolutions(subnet: Any) -> tuple[Any, Any]:
    """Return both layers of a coupling's network as convolutions, the first without its part for the condition."""
    if isinstance(subnet, nn.Sequential):
        inner, _, outer = copy.deepcopy(subnet)
        return inner, outer
    inner, outer = subnet.inner, subnet.outer
    first = pointwise_convolution(inner.weight[:, : subnet.inputs], inner.bias)
    return first, pointwise_convolution(outer.weight, outer.bias)


def pointwise_convolution(weight: Tensor, bias: Tensor) -> nn.Conv2d:
    """Return a convolution that multiplies the channels at each position by a matrix (K, C)."""
    made = nn.Conv2d(weight.shape[1], weight.shape[0], 1)
    return with_weights(made, weight[:, :, None, None], bias)


@torch.no_grad()
def with_weights(layer: nn.Conv2d, weight: Tensor, bias: Tensor) -> nn.Conv2d:
    """Set the weights of a convolution, in place, and return it."""
    layer.weight.copy_(weight)
    layer.bias.copy_(bias)  # type: ignore[union-attr]  # all have one
    return layer.requires_grad_(False)


def with_scaling(outer: nn.Conv2d, sigma: Tensor, offset: Tensor) -> nn.Conv2d:
    """Fold the factor 0.1 and the scaling into the last layer, so that it gives a tenth of a_s, and t'."""
    factor = 0.1 * torch.cat((torch.ones_like(sigma), sigma))
    bias = factor * outer.bias.detach()  # type: ignore[union-attr]  # all have one
    bias = bias + torch.cat((torch.zeros_like(offset), offset))
    return with_weights(outer, outer.weight.detach().double() * factor[:, None, None, None], bias)


def condition_terms(subnet: DenseSubnet, code: PositionalCode) -> tuple[Tensor, Tensor]:
    """Return the terms of columns and rows in the first layer, (1, K, 1, W) and (1, K, H, 1)."""
    halves = subnet.inner.weight.detach()[:, subnet.inputs :].double().chunk(2, dim=1)
    pairs = zip(halves, (code.columns, code.rows), strict=True)
    of_column, of_row = ((half @ values.double().T).float() for half, values in pairs)
    return of_column[None, :, None, :].contiguous(), of_row[None, :, :, None].contiguous()


def as_map(values: Tensor) -> Tensor:
    """View values (C,) as (1, C, 1, 1), in float32."""
    return values.float().view(1, -1, 1, 1)
