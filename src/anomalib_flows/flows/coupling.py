"""Affine coupling: half of the channels is scaled and shifted by a function of the other half."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from anomalib_flows.flows.bijection import Bijection, Condition
from anomalib_flows.flows.numeric import sum_per_image

Subnet = Callable[[int, int], nn.Module]
"""Makes a network from its numbers of input and output channels."""


class AffineCoupling(Bijection):
    r"""Scale and shift the second part of the channels by a network of the first part.

    .. math::
        z_1 = x_1, \quad z_2 = x_2 \odot \exp(s) + t, \quad
        s = \alpha \tanh(0.1\, a_s(x_1)), \quad t = 0.1\, a_t(x_1)

    With a condition c the network is one of :math:`x_1` and c. The factor 0.1 makes a new block
    nearly the identity; the soft clamp :math:`\alpha` bounds every scale.

    Args:
        channels: Number of channels C; the first part has ``C - C // 2`` of them.
        subnet: Makes the network a from its numbers of input and output channels; if the coupling is given a
            condition, the network is called with it too.
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
        s, t = self.scale_and_shift(x1, condition)
        return torch.cat((x1, torch.addcmul(t, x2, s.exp())), dim=1), sum_per_image(s)

    def inverse(self, z: Tensor, condition: Condition | None = None) -> tuple[Tensor, Tensor]:
        """Return x and the log-determinant, minus the sum of s."""
        z1, z2 = torch.split(z, self.sizes, dim=1)
        s, t = self.scale_and_shift(z1, condition)
        return torch.cat((z1, (z2 - t) * torch.exp(-s)), dim=1), -sum_per_image(s)

    def scale_and_shift(self, x1: Tensor, condition: Condition | None) -> tuple[Tensor, Tensor]:
        """Log-scale s and shift t for the second part, each of its shape."""
        a = self.subnet(x1) if condition is None else self.subnet(x1, condition)
        s, t = (0.1 * a).chunk(2, dim=1)
        return self.clamp * torch.tanh(s), t
