"""What every flow must be: invertible, with the log-determinant of its Jacobian."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from anomalib_flows.flows import Bijection
from anomalib_flows.testing.require import require


def check_bijection(flow: Bijection, shape: tuple[int, ...], tolerance: float = 1e-6) -> None:
    """Check that inverse and log-determinant fit forward, in float64 and with all weights a little off.

    Args:
        flow: The flow; the one given is not changed.
        shape: Shape of one image's features (C, ...), small: the Jacobian is computed in full.
        tolerance: Largest error, absolute and relative.

    Raises:
        AssertionError: If it is not so; says what is wrong in one sentence.

    Example:
        >>> from anomalib_flows.flows import GlobalAffine
        >>> check_bijection(GlobalAffine(3), (3, 2, 2))
    """
    flow = _disturbed(flow)
    x = torch.randn(2, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    z, log_det = flow(x)
    back, inverse_log_det = flow.inverse(z)
    require(z.shape == x.shape, f"forward turns shape {tuple(x.shape)} into {tuple(z.shape)}")
    require(log_det.shape == (2,), f"the log-determinant has shape {tuple(log_det.shape)}, not (B,)")
    require(torch.allclose(back, x, tolerance, tolerance), "inverse does not undo forward")
    true = torch.stack([_log_det(flow, one) for one in x])
    stated = f"the log-determinants are {log_det.tolist()}, but those of the Jacobians {true.tolist()}"
    require(torch.allclose(log_det.double(), true, tolerance, tolerance), stated)
    opposite = torch.allclose(inverse_log_det, -log_det, tolerance, tolerance)
    require(opposite, "the log-determinant of inverse is not minus that of forward")


def _log_det(flow: Bijection, x: Tensor) -> Tensor:
    """Log-determinant of the Jacobian at one image's features, from automatic differentiation."""
    jacobian: Tensor = torch.func.jacrev(lambda image: flow(image[None])[0])(x)
    log_det: Tensor = torch.linalg.slogdet(jacobian.reshape(x.numel(), -1)).logabsdet
    return log_det


@torch.no_grad()
def _disturbed(flow: Bijection) -> Bijection:
    """Copy a flow and move its weights, for many a flow begins as the identity, which hides faults."""
    flow = copy.deepcopy(flow).double()
    generator = torch.Generator().manual_seed(0)
    for p in flow.parameters():
        p.add_(0.1 * torch.randn(p.shape, dtype=p.dtype, generator=generator))
    return flow
