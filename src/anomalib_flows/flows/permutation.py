"""A fixed permutation or rotation of the channels, so that the next coupling changes other channels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from anomalib_flows.flows.bijection import Bijection, Condition
from anomalib_flows.flows.numeric import own_gradient, zeros_per_image


class Permutation(Bijection):
    r"""Reorder the channels, :math:`z_i = x_{\pi(i)}`, with log-determinant 0.

    The permutation is an index: a gather costs C reads at each position, a product with a permutation matrix C^2
    multiplications.

    Args:
        channels: Number of channels C.
        order: The permutation, of shape (C,); random if not given.

    Example:
        >>> Permutation(3, torch.tensor([2, 0, 1]))(torch.tensor([[10.0, 20.0, 30.0]]))[0]
        tensor([[30., 10., 20.]])
    """

    order: Tensor

    def __init__(self, channels: int, order: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("order", torch.randperm(channels) if order is None else order)

    def forward(self, x: Tensor, condition: Condition | None = None) -> tuple[Tensor, Tensor]:
        """Return the permuted channels and zeros."""
        return permute(x, self.order), zeros_per_image(x)

    def inverse(self, z: Tensor, condition: Condition | None = None) -> tuple[Tensor, Tensor]:
        """Return the channels in their original order and zeros."""
        return permute(z, self.order.argsort()), zeros_per_image(z)


class _Permute(torch.autograd.Function):
    """A gather whose gradient is a gather; autograd would add up, since it cannot know that no channel occurs twice."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, order: Tensor) -> Tensor:
        ctx.save_for_backward(order)
        return x.index_select(1, order)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_z: Tensor) -> tuple[Tensor, None]:
        (order,) = ctx.saved_tensors
        return of_z.index_select(1, order.argsort()), None


def permute(x: Tensor, order: Tensor) -> Tensor:
    """Reorder the channels of x, (B, C, ...)."""
    if not own_gradient(x):
        return x.index_select(1, order)
    permuted: Tensor = _Permute.apply(x, order)
    return permuted


class SoftPermutation(Bijection):
    r"""Rotate the channels, :math:`z = R x` with a fixed random R of SO(C), with log-determinant 0.

    It mixes all channels. It costs C^2 multiplications at each position and as many constants.

    Args:
        channels: Number of channels C.
        rotation: The matrix R of shape (C, C); random, uniform over all rotations, if not given.

    References:
        How to generate random matrices from the classical compact groups (Mezzadri, 2007),
        https://arxiv.org/abs/math-ph/0609050, section 5. FrEIA's ``permute_soft``.

    Example:
        >>> flow, x = SoftPermutation(5), torch.randn(2, 5)
        >>> bool(torch.allclose(flow(x)[0].norm(dim=1), x.norm(dim=1)))
        True
    """

    rotation: Tensor

    def __init__(self, channels: int, rotation: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("rotation", random_rotation(channels) if rotation is None else rotation)

    def forward(self, x: Tensor, condition: Condition | None = None) -> tuple[Tensor, Tensor]:
        """Return the rotated channels and zeros."""
        return mix_channels(self.rotation, x), zeros_per_image(x)

    def inverse(self, z: Tensor, condition: Condition | None = None) -> tuple[Tensor, Tensor]:
        """Return the channels rotated back and zeros."""
        return mix_channels(self.rotation.T, z), zeros_per_image(z)


def random_rotation(channels: int) -> Tensor:
    """Draw a matrix from SO(C) uniformly: Q of the QR decomposition of a random matrix, with unique signs."""
    q, r = torch.linalg.qr(torch.randn(channels, channels))
    rotation: Tensor = q * r.diagonal().sign()
    rotation[:, 0] *= torch.linalg.det(rotation.double()).sign().to(rotation.dtype)
    return rotation


def mix_channels(matrix: Tensor, x: Tensor) -> Tensor:
    """Multiply the channels at each position by a matrix (C, C): (B, C, ...) -> (B, C, ...)."""
    return torch.einsum("ij,bj...->bi...", matrix, x)
