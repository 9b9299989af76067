"""A fixed permutation of the channels, so that the next coupling changes other channels."""

from __future__ import annotations

import torch
from torch import Tensor

from anomalib_flows.flows.bijection import Bijection


class Permutation(Bijection):
    r"""Reorder the channels, :math:`z_i = x_{\pi(i)}`, with log-determinant 0.

    The permutation is kept as an index: a gather costs C reads for each position, the dense product with a
    permutation matrix that other implementations use costs C^2 multiplications.

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

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the permuted channels and zeros."""
        return x.index_select(1, self.order), self.log_det(x)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return the channels in their former order and zeros."""
        return z.index_select(1, self.order.argsort()), self.log_det(z)

    @staticmethod
    def log_det(x: Tensor) -> Tensor:
        """Zeros of shape (B,)."""
        return x.new_zeros(len(x), dtype=torch.promote_types(x.dtype, torch.float32))
