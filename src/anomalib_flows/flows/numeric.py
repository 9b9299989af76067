"""Sums and views that every flow needs."""

from __future__ import annotations

import torch
from torch import Tensor


def sum_per_image(x: Tensor) -> Tensor:
    """Sum everything but the batch, in float32 at least: (B, C, ...) -> (B,).

    Example:
        >>> sum_per_image(torch.ones(2, 3, 4, 4, dtype=torch.bfloat16))
        tensor([48., 48.])
    """
    return x.flatten(1).sum(1, dtype=torch.promote_types(x.dtype, torch.float32))


def per_channel(x: Tensor, like: Tensor) -> Tensor:
    """View (C,) so that it broadcasts over ``like`` of shape (B, C, ...)."""
    return x.view(-1, *[1] * (like.ndim - 2))


def zeros_per_image(x: Tensor) -> Tensor:
    """Zeros of shape (B,), the log-determinant of what keeps volumes, in float32 at least."""
    return x.new_zeros(len(x), dtype=torch.promote_types(x.dtype, torch.float32))
