"""A learned scale and offset for each channel."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from anomalib_flows.flows.bijection import Bijection, Condition
from anomalib_flows.flows.numeric import broadcast_channels, channel_products, own_gradient


class GlobalAffine(Bijection):
    r"""Scale and shift each channel, the same at all positions.

    .. math::
        z = x \odot \sigma + b, \quad \sigma = 0.1\, \mathrm{softplus}_{\beta = 0.5}(g), \quad
        \log |\det| = H W \sum_c \log \sigma_c

    Args:
        channels: Number of channels C.

    References:
        Glow (Kingma and Dhariwal, 2018), https://arxiv.org/abs/1807.03039, section 3.1, without the
        initialisation from data; softplus as in FrEIA's ``AllInOneBlock``.

    Example:
        >>> z, log_det = GlobalAffine(3)(torch.ones(1, 3, 2, 2))
        >>> bool(torch.allclose(z, torch.ones(1, 3, 2, 2))), abs(round(float(log_det.detach()), 5))
        (True, 0.0)
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        unit_scale = 2.0 * math.log(math.exp(0.5 * 10.0) - 1.0)
        self.scale_logits = nn.Parameter(torch.full((channels,), unit_scale))
        self.offset = nn.Parameter(torch.zeros(channels))

    @property
    def scale(self) -> Tensor:
        """Scale of each channel, of shape (C,)."""
        return 0.2 * F.softplus(0.5 * self.scale_logits)  # without the argument beta, which converters ignore

    def forward(self, x: Tensor, condition: Condition | None = None) -> tuple[Tensor, Tensor]:
        """Return z and the log-determinant."""
        scale = self.scale
        return scale_channels(x, scale.to(x.dtype), self.offset.to(x.dtype)), scaling_log_det(scale, x)

    def inverse(self, z: Tensor, condition: Condition | None = None) -> tuple[Tensor, Tensor]:
        """Return x and the log-determinant."""
        scale = self.scale
        return (z - broadcast_channels(self.offset, z)) / broadcast_channels(scale, z), -scaling_log_det(scale, z)


def scale_channels(x: Tensor, scale: Tensor, offset: Tensor) -> Tensor:
    """Scale and shift each channel."""
    if own_gradient(x):
        z: Tensor = _ScaleChannels.apply(x, scale, offset)
        return z
    return multiply_and_add(x, scale, offset)


def multiply_and_add(x: Tensor, scale: Tensor, offset: Tensor) -> Tensor:
    """Scale and shift each channel in two passes, each several times as fast as ``addcmul`` with these strides."""
    return (x * broadcast_channels(scale, x)).add_(broadcast_channels(offset, x))


class _ScaleChannels(torch.autograd.Function):
    """Scaling with its gradient, in few passes over memory."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, offset: Tensor) -> Tensor:
        ctx.save_for_backward(x, scale)
        return multiply_and_add(x, scale, offset)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, scale = ctx.saved_tensors
        others = [dim for dim in range(x.ndim) if dim != 1]
        return of_z * broadcast_channels(scale, x), channel_products(of_z, x), of_z.sum(others)


def scaling_log_det(scale: Tensor, x: Tensor) -> Tensor:
    """Return the log-determinant (B,) of a scaling (C,) at every position of x."""
    positions = x[0, 0].numel()
    scale = scale.to(torch.promote_types(scale.dtype, torch.float32))
    return (positions * scale.log().sum()).expand(len(x))
