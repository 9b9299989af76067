"""Flows as they are deployed: one direction only, and what does not depend on the image is computed beforehand."""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anomalib_flows.flows.chain import Chain
from anomalib_flows.flows.coupling import AffineCoupling
from anomalib_flows.flows.dense import DenseSubnet
from anomalib_flows.flows.permutation import Permutation, SoftPermutation
from anomalib_flows.flows.scaling import GlobalAffine

Codes = tuple[Tensor, Tensor]
"""Codes of the columns (W, D / 2) and rows (H, D / 2) of a map, on which a flow is conditioned."""


class FoldedFlow(nn.Module):
    r"""Coupling, scaling and permutation, again and again, of feature maps (B, C, h, w).

    The log-determinants of the scalings are one constant, and the last permutation is left out, for likelihoods do
    not depend on the order of channels.

    Args:
        flow: A chain of steps as ``FastFlow`` and ``CFlow`` make them.
        codes: What the flow is conditioned on, if it is.

    Example:
        >>> step = Chain(AffineCoupling(4, lambda i, o: DenseSubnet(i, o)), GlobalAffine(4), Permutation(4))
        >>> z, log_det = FoldedFlow(Chain(step))(torch.randn(1, 4, 2, 3))
        >>> z.shape, log_det.shape
        (torch.Size([1, 4, 2, 3]), torch.Size([1, 1, 2, 3]))
    """

    steps: Any  # a ModuleList, which its type cannot say

    def __init__(self, flow: Chain, codes: Codes | None = None) -> None:
        super().__init__()
        last = len(flow.steps) - 1
        self.steps = nn.ModuleList(FoldedStep(step, codes, i == last) for i, step in enumerate(flow.steps))
        scales = torch.cat([step.steps[1].scale.detach().double() for step in flow.steps])
        self.log_det = float(scales.log().sum())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return z (B, C, h, w), with channels in some order, and each position's log-determinant (B, 1, h, w)."""
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

    where t', as the last layer's output, takes :math:`\sigma_2` and :math:`b_2` into its weights. A rotation takes
    all of the scaling into its own. The linear image of a condition is the sum of a term of the row and one of the
    column, both constant.

    Args:
        step: A chain of coupling, scaling and permutation.
        codes: What the coupling is conditioned on, if it is.
        last: Whether no step follows.
    """

    scale: Tensor
    offset: Tensor
    log_scale: Tensor
    of_row: Tensor
    of_column: Tensor
    minus_column: Tensor

    def __init__(self, step: Chain, codes: Codes | None, last: bool) -> None:
        super().__init__()
        coupling, scaling, permutation = step.steps
        self.sizes, self.clamp = coupling.sizes, coupling.clamp
        sigma, offset = scaling.scale.detach().double(), scaling.offset.detach().double()
        self.rotation = None
        if isinstance(permutation, SoftPermutation) and not last:
            turn = permutation.rotation.double()
            self.rotation = convolution(turn * sigma, turn @ offset)
            sigma, offset = torch.ones_like(sigma), torch.zeros_like(offset)
        self.permutation = None if last or self.rotation else Reordering(permutation.order)
        (sigma_1, sigma_2), (offset_1, offset_2) = (values.split(self.sizes) for values in (sigma, offset))
        self.register_buffer("scale", per_channel(sigma_1))
        self.register_buffer("offset", per_channel(offset_1))
        self.register_buffer("log_scale", per_channel(sigma_2.log()))
        inner, outer = layers(coupling.subnet)
        self.inner, self.outer = inner, scaled(outer, sigma_2, offset_2)
        self.conditioned = codes is not None
        if codes is not None:
            of_column, of_row = tables(coupling.subnet, codes)
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
        # relu(h + r + c), in a form that keeps converters from adding up r and c to a table of all positions, which
        # is a large part of the file.
        return torch.maximum(hidden + self.of_row, self.minus_column) + self.of_column


class Reordering(nn.Module):
    """Channels in another order; finite values are passed on exactly.

    A convolution with ones and zeros where there are few channels: OpenVINO's convolutions want channels last, its
    gathering of channels wants them first, and turning 64 channels of 64 x 64 positions takes 1.5 ms on a core, such a
    convolution 0.4.

    Args:
        order: Number of the old channel for each new one, (C,).
    """

    selected: Tensor

    FEW = 64
    """Up to so many channels OpenVINO 2026.4's CPU plugin turns maps in the slow way."""

    def __init__(self, order: Tensor) -> None:
        super().__init__()
        self.few = len(order) <= self.FEW
        self.register_buffer("selected", torch.eye(len(order))[order][:, :, None, None] if self.few else order)

    def forward(self, x: Tensor) -> Tensor:
        """Reorder maps (B, C, h, w)."""
        return F.conv2d(x, self.selected) if self.few else x.index_select(1, self.selected)


def fold(flow: nn.Module, codes: Codes | None = None) -> nn.Module:
    """Fold a flow, or return it as it is if it is not made of the steps that can be folded."""
    known = isinstance(flow, Chain) and all(_is_step(step) for step in flow.steps)
    return FoldedFlow(flow, codes) if known else flow  # type: ignore[arg-type]


def _is_step(step: nn.Module) -> bool:
    if not isinstance(step, Chain) or len(step.steps) != 3:
        return False
    coupling, scaling, permutation = step.steps
    subnet = getattr(coupling, "subnet", None)
    return (
        type(coupling) is AffineCoupling
        and type(scaling) is GlobalAffine
        and type(permutation) in (Permutation, SoftPermutation)
        and (type(subnet) is DenseSubnet or _is_convolutional(subnet))
    )


def _is_convolutional(subnet: Any) -> bool:
    """Whether a network is two convolutions, each with a bias, and a ReLU between them."""
    kinds = [type(layer) for layer in subnet] if isinstance(subnet, nn.Sequential) else []
    return kinds == [nn.Conv2d, nn.ReLU, nn.Conv2d] and all(b is not None for b in (subnet[0].bias, subnet[2].bias))


def layers(subnet: Any) -> tuple[Any, Any]:
    """Return both layers of a coupling's network as convolutions, the first without its part for the condition."""
    if isinstance(subnet, nn.Sequential):
        inner, _, outer = copy.deepcopy(subnet)
        return inner, outer
    inner, outer = subnet.inner, subnet.outer
    return convolution(inner.weight[:, : subnet.inputs], inner.bias), convolution(outer.weight, outer.bias)


def convolution(weight: Tensor, bias: Tensor) -> nn.Conv2d:
    """Make a convolution that multiplies the channels at each position by a matrix (K, C)."""
    made = nn.Conv2d(weight.shape[1], weight.shape[0], 1)
    return filled(made, weight[:, :, None, None], bias)


@torch.no_grad()
def filled(layer: nn.Conv2d, weight: Tensor, bias: Tensor) -> nn.Conv2d:
    """Give a convolution its weights."""
    layer.weight.copy_(weight)
    layer.bias.copy_(bias)  # type: ignore[union-attr]  # all have one
    return layer.requires_grad_(False)


def scaled(outer: nn.Conv2d, sigma: Tensor, offset: Tensor) -> nn.Conv2d:
    """Let the last layer give 0.1 of the log-scales and the shifts t' in the place of both times ten."""
    factor = 0.1 * torch.cat((torch.ones_like(sigma), sigma))
    bias = factor * outer.bias.detach()  # type: ignore[union-attr]  # all have one
    bias = bias + torch.cat((torch.zeros_like(offset), offset))
    return filled(outer, outer.weight.detach().double() * factor[:, None, None, None], bias)


def tables(subnet: DenseSubnet, codes: Codes) -> Codes:
    """Compute what columns and rows add to the first layer, (1, K, 1, W) and (1, K, H, 1)."""
    halves = subnet.inner.weight.detach()[:, subnet.inputs :].double().chunk(2, dim=1)
    of_column, of_row = ((half @ code.double().T).float() for half, code in zip(halves, codes, strict=True))
    return of_column[None, :, None, :].contiguous(), of_row[None, :, :, None].contiguous()


def per_channel(values: Tensor) -> Tensor:
    """View values (C,) as (1, C, 1, 1), in float32."""
    return values.float().view(1, -1, 1, 1)
