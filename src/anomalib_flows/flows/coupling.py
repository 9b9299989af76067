"""Affine coupling: half of the channels is scaled and shifted by a function of the other half."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from anomalib_flows.flows.bijection import Bijection, Condition
from anomalib_flows.flows.numeric import own_gradient, sum_per_image

Subnet = Callable[[int, int], nn.Module]
"""Makes a network from its numbers of input and output channels."""


class AffineCoupling(Bijection):
    r"""Scale and shift the second part of the channels by a network of the first part.

    .. math::
        z_1 = x_1, \quad z_2 = x_2 \odot \exp(s) + t, \quad
        s = \alpha \tanh(0.1\, a_s(x_1)), \quad t = 0.1\, a_t(x_1)

    With a condition c the network is a function of :math:`x_1` and c. The factor 0.1 makes a new block nearly the
    identity; the soft clamp :math:`\alpha` bounds every scale. The gradient is hand-written and cannot be
    differentiated again.

    Args:
        channels: Number of channels C; the first part has ``C - C // 2`` of them.
        subnet: Makes the network a from its numbers of input and output channels. If the coupling gets a condition,
            so does the network.
        clamp: Bound :math:`\alpha` of the log-scale.

    References:
        Density estimation using Real NVP (Dinh et al., 2017), https://arxiv.org/abs/1605.08803, eq. 7-8.
        Soft clamp and factor as in FrEIA's ``AllInOneBlock``.

    Example:
        >>> coupling = AffineCoupling(4, lambda i, o: nn.Conv2d(i, o, 1))
        >>> z, log_det = coupling(torch.randn(2, 4, 3, 3))
        >>> z.shape, log_det.shape
        (torch.Size([2, 4, 3, 3]), torch.Size([2]))
    """

    def __init__(self, channels: int, subnet: Subnet, clamp: float = 2.0) -> None:
        super().__init__()
        if channels < 2:
            raise ValueError(f"A coupling splits its channels and needs at least 2, not {channels}.")
        self.sizes = [channels - channels // 2, channels // 2]
        self.clamp = clamp
        self.subnet = subnet(self.sizes[0], 2 * self.sizes[1])

    def forward(self, x: Tensor, condition: Condition | None = None) -> tuple[Tensor, Tensor]:
        """Return z and the log-determinant, the sum of s."""
        x1, x2 = torch.split(x, self.sizes, dim=1)
        a = self.subnet(x1) if condition is None else self.subnet(x1, condition)
        if own_gradient(x):
            return couple_with_gradient(x1, x2, a, self.clamp)
        z2, log_det, _, _ = couple(x2, a, self.clamp)
        return torch.cat((x1, z2), dim=1), log_det

    def inverse(self, z: Tensor, condition: Condition | None = None) -> tuple[Tensor, Tensor]:
        """Return x and the log-determinant, minus the sum of s."""
        z1, z2 = torch.split(z, self.sizes, dim=1)
        a = self.subnet(z1) if condition is None else self.subnet(z1, condition)
        s, a_t, _ = log_scale_and_shift(a, z2, self.clamp)
        log_det = -sum_per_image(s)
        x2 = torch.sub(z2, a_t, alpha=0.1).mul_(s.neg_().exp_())
        return torch.cat((z1, x2), dim=1), log_det


def log_scale_and_shift(a: Tensor, like: Tensor, clamp: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return s, a_t and the logistic function of 0.2 a_s for a network's output a, in the type of ``like``.

    As tanh(u) = 2 logistic(2 u) - 1, s comes from the logistic function, which torch computes in a tenth of the time.
    """
    a_s, a_t = a.to(like.dtype).chunk(2, dim=1)
    logistic = (0.2 * a_s).sigmoid_()
    return (2 * clamp * logistic).sub_(clamp), a_t, logistic


def couple(x2: Tensor, a: Tensor, clamp: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return z2, the log-determinant, exp(s) and the logistic function for a network's output a."""
    s, a_t, logistic = log_scale_and_shift(a, x2, clamp)
    log_det = sum_per_image(s)
    scale = s.exp_()
    return (x2 * scale).add_(a_t, alpha=0.1), log_det, scale, logistic


class _Couple(torch.autograd.Function):
    """The coupling with its gradient, in half as many passes over memory as autograd needs.

    With the log-determinant's gradient l, that of z2, g, and the logistic function p, those of x2, a_t and a_s are

        g exp(s),  0.1 g,  0.4 clamp p (1 - p) (g x2 exp(s) + l).
    """

    @staticmethod
    def forward(ctx: Any, x1: Tensor, x2: Tensor, a: Tensor, clamp: float) -> tuple[Tensor, Tensor]:
        z2, log_det, scale, logistic = couple(x2, a, clamp)
        ctx.save_for_backward(x2, scale, logistic)
        ctx.clamp, ctx.type = clamp, a.dtype
        return torch.cat((x1, z2), dim=1), log_det

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_z: Tensor, of_log_det: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x2, scale, logistic = ctx.saved_tensors
        of_z1, of_z2 = torch.split(of_z, [of_z.shape[1] - x2.shape[1], x2.shape[1]], dim=1)
        of_x2 = of_z2 * scale
        of_log_det = (0.4 * ctx.clamp * of_log_det).to(x2.dtype).view(-1, *[1] * (x2.ndim - 1))
        of_s = torch.addcmul(of_log_det, of_x2, x2, value=0.4 * ctx.clamp)
        return of_z1, of_x2, network_gradient(of_s, logistic, of_z2).to(ctx.type), None


def network_gradient(of_s: Tensor, logistic: Tensor, of_z2: Tensor) -> Tensor:
    """Return the gradient of a network's output, a_s and a_t in one tensor."""
    if torch.compiler.is_dynamo_compiling():  # torch.compile fuses these, and cannot write into parts of a tensor
        return torch.cat((torch.ops.aten.sigmoid_backward(of_s, logistic), 0.1 * of_z2), dim=1)
    of_a = of_z2.new_empty(len(of_z2), 2 * of_z2.shape[1], *of_z2.shape[2:])
    of_a_s, of_a_t = of_a.chunk(2, dim=1)
    torch.ops.aten.sigmoid_backward.grad_input(of_s, logistic, grad_input=of_a_s)
    torch.mul(of_z2, 0.1, out=of_a_t)
    return of_a


couple_with_gradient: Callable[[Tensor, Tensor, Tensor, float], tuple[Tensor, Tensor]] = _Couple.apply
