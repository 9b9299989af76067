"""Sums and views that several flows use."""

from __future__ import annotations

import torch
from torch import Tensor


def sum_per_image(x: Tensor) -> Tensor:
    """Sum over all dimensions except the batch, in float32 at least: (B, C, ...) -> (B,)."""
    return x.sum(list(range(1, x.ndim)), dtype=torch.promote_types(x.dtype, torch.float32))


def broadcast_channels(x: Tensor, like: Tensor) -> Tensor:
    """View (C,) so that it broadcasts over ``like`` of shape (B, C, ...)."""
    return x.view(-1, *[1] * (like.ndim - 2))


def zeros_per_image(x: Tensor) -> Tensor:
    """Return zeros of shape (B,), the log-determinant of maps that keep volumes, in float32 at least."""
    return x.new_zeros(len(x), dtype=torch.promote_types(x.dtype, torch.float32))


def own_gradient(x: Tensor) -> bool:
    """Return whether to use a hand-written gradient: gradients are enabled, and x is not wrapped by a transform."""
    if not torch.is_grad_enabled() or torch.jit.is_tracing() or torch.compiler.is_exporting():  # type: ignore[attr-defined, no-untyped-call]
        return False
    if torch.compiler.is_dynamo_compiling():  # it understands our gradients, but not the next call
        return True
    return not torch._C._functorch.is_functorch_wrapped_tensor(x)  # noqa: SLF001 (there is no public way to ask)


def channel_products(a: Tensor, b: Tensor) -> Tensor:
    """Sum the products of two tensors over all dimensions except the channels, (B, C, ...) -> (C,)."""
    return (a * b).sum([dim for dim in range(a.ndim) if dim != 1])
