"""The check of a flow: it is invertible, with the log-determinant of its Jacobian."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from anomalib_flows.flows import Bijection
from anomalib_flows.testing.trials import ensure


def check_bijection(flow: Bijection, shape: Sequence[int] | Sequence[Sequence[int]], tolerance: float = 1e-6) -> None:
    """Check that inverse and log-determinant fit forward, in float64 and with all weights slightly changed.

    Args:
        flow: The flow, which is not changed.
        shape: Shape (C, ...) of one image's features, or a list of shapes for a flow of a tuple of tensors. Small,
            since the Jacobian is computed in full.
        tolerance: Largest error, absolute and relative.

    Raises:
        AssertionError: If they do not fit; says in one sentence what is wrong.

    Example:
        >>> from anomalib_flows.flows import GlobalAffine, Parallel
        >>> check_bijection(GlobalAffine(3), (3, 2, 2))
        >>> check_bijection(Parallel(GlobalAffine(3), GlobalAffine(2)), [(3, 2, 2), (2, 1, 1)])
    """
    flow = with_moved_weights(flow)
    x = random_input(shape)
    z, log_det = flow(x)
    back, inverse_log_det = flow.inverse(z)
    one_each = isinstance(x, Tensor) and isinstance(z, Tensor)
    same = z.shape == x.shape if one_each else flatten_images(z).shape == flatten_images(x).shape
    ensure(same, f"forward turns shape {shapes_of(x)} into {shapes_of(z)}")
    ensure(log_det.shape == (2,), f"the log-determinant has shape {tuple(log_det.shape)}, not (B,)")
    found, expected = flatten_images(back), flatten_images(x)
    undone = shapes_of(back) == shapes_of(x) and torch.allclose(found, expected, tolerance, tolerance)
    ensure(undone, "inverse does not undo forward")
    true = torch.stack([jacobian_log_det(flow, x, i) for i in range(2)])
    stated = f"the log-determinants are {log_det.tolist()}, but those of the Jacobians {true.tolist()}"
    ensure(torch.allclose(log_det.double(), true, tolerance, tolerance), stated)
    opposite = torch.allclose(inverse_log_det, -log_det, tolerance, tolerance)
    ensure(opposite, "the log-determinant of inverse is not minus that of forward")


def random_input(shape: Sequence[Any]) -> Any:
    """Return features of two images: a tensor, or a tuple of tensors for a list of shapes."""
    generator = torch.Generator().manual_seed(0)
    if isinstance(shape[0], int):
        return torch.randn(2, *shape, dtype=torch.float64, generator=generator)
    return tuple(torch.randn(2, *one, dtype=torch.float64, generator=generator) for one in shape)


def flatten_images(x: Any) -> Tensor:
    """Return all values of each image in a tensor or a tuple of tensors, (B, N)."""
    return torch.cat([part.flatten(1) for part in (x if isinstance(x, tuple) else (x,))], dim=1)


def shapes_of(x: Any) -> Any:
    """Return the shape of a tensor, or the shapes in a tuple."""
    return [tuple(part.shape) for part in x] if isinstance(x, tuple) else tuple(x.shape)


def jacobian_log_det(flow: Bijection, x: Any, i: int) -> Tensor:
    """Return the log-determinant of the Jacobian at the i-th image's features, from automatic differentiation."""
    parts = x if isinstance(x, tuple) else (x,)
    sizes = [part[i].numel() for part in parts]

    def forward(values: Tensor) -> Tensor:
        pieces = zip(torch.split(values, sizes), parts, strict=True)
        image = tuple(piece.view_as(part[:1]) for piece, part in pieces)
        return flatten_images(flow(image if isinstance(x, tuple) else image[0])[0])[0]

    jacobian: Tensor = torch.func.jacrev(forward)(flatten_images(x)[i])
    log_det: Tensor = torch.linalg.slogdet(jacobian).logabsdet
    return log_det


@torch.no_grad()
def with_moved_weights(flow: Bijection) -> Bijection:
    """Copy a flow and change its weights, since many flows start as the identity, which hides faults."""
    flow = copy.deepcopy(flow).double()
    generator = torch.Generator().manual_seed(0)
    for p in flow.parameters():
        p.add_(0.1 * torch.randn(p.shape, dtype=p.dtype, generator=generator))
    return flow
