"""A step of our flow is FrEIA's ``AllInOneBlock``: same values, log-determinants, inverses and gradients."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from FrEIA.modules import AllInOneBlock
from torch import Tensor, nn

from anomalib_flows.flows import (
    AffineCoupling,
    Chain,
    Condition,
    DenseSubnet,
    GlobalAffine,
    Permutation,
    SoftPermutation,
    Subnet,
)
from anomalib_flows.flows import condition_on as rows
from reference.freia_cflow import dense_net
from reference.freia_fastflow import copy_permutation, matched_step


def subnet(dims: int) -> Subnet:
    if dims == 0:
        return lambda i, o: nn.Sequential(nn.Linear(i, 9), nn.ReLU(), nn.Linear(9, o))
    conv = (nn.Conv1d, nn.Conv2d)[dims - 1]
    return lambda i, o: nn.Sequential(conv(i, 9, 3, padding=1), nn.ReLU(), conv(9, o, 3, padding=1))


def assert_equal(
    ours: Chain,
    block: Any,
    x: Tensor,
    close: Callable[[Tensor, Tensor], bool],
    given: Condition | None = None,
    their_condition: Sequence[Tensor] = (),
) -> None:
    """Give the block the weights of our step, and compare values, log-determinants, gradients and inverses."""
    with torch.no_grad():
        for theirs, mine in matched_step(block, ours):
            theirs.copy_(mine.view_as(theirs))
    copy_permutation(block, ours)

    mine, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    z, log_det = ours(mine, given)
    (expected_z,), expected_log_det = block((theirs,), their_condition)
    assert close(z, expected_z)
    assert close(log_det, expected_log_det)

    (z.square().sum() - log_det.sum()).backward()
    (expected_z.square().sum() - expected_log_det.sum()).backward()
    assert close(mine.grad, theirs.grad)
    for expected, parameter in matched_step(block, ours):
        assert close(parameter.grad.view_as(expected), expected.grad)

    back, inverse_log_det = ours.inverse(x, given)
    (expected_back,), expected_inverse_log_det = block((x,), their_condition, rev=True)
    assert close(back, expected_back)
    assert close(inverse_log_det, expected_inverse_log_det)


@pytest.mark.parametrize("clamp", [2.0, 0.7])
@pytest.mark.parametrize("shape", [(2,), (7,), (3, 5), (8, 4), (2, 3, 2), (5, 6, 4), (16, 5, 7)], ids=str)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-4)], ids=str)
def test_a_step_equals_a_block(disturb, relative_error, shape, clamp, dtype, tolerance) -> None:
    torch.manual_seed(0)
    network, channels = subnet(len(shape) - 1), shape[0]
    ours = Chain(AffineCoupling(channels, network, clamp), GlobalAffine(channels), Permutation(channels))
    ours = disturb(ours.to(dtype), scale=0.5)
    block = AllInOneBlock([shape], subnet_constructor=network, affine_clamping=clamp, permute_soft=False).to(dtype)
    x = torch.randn(3, *shape, dtype=dtype)
    assert_equal(ours, block, x, lambda one, other: relative_error(one, other) < tolerance)


@pytest.mark.parametrize("permutation", [Permutation, SoftPermutation])
@pytest.mark.parametrize(("channels", "condition"), [(2, 4), (7, 8), (24, 16), (9, 0)])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-4)], ids=str)
def test_a_conditional_step_equals_a_block(
    disturb, relative_error, permutation, channels, condition, dtype, tolerance
) -> None:
    torch.manual_seed(0)
    coupling = AffineCoupling(channels, lambda i, o: DenseSubnet(i, o, condition), clamp=1.9)
    ours = disturb(Chain(coupling, GlobalAffine(channels), permutation(channels)).to(dtype), scale=0.5)
    dims_c = [(condition,)] if condition else []
    block = AllInOneBlock([(channels,)], dims_c, subnet_constructor=dense_net, affine_clamping=1.9).to(dtype)
    x, c = torch.randn(6, channels, dtype=dtype), torch.randn(6, condition, dtype=dtype)
    given, theirs = (rows(c), [c]) if condition else (None, [])
    assert_equal(ours, block, x, lambda one, other: relative_error(one, other) < tolerance, given, theirs)


def test_a_new_scaling_begins_as_in_freia() -> None:
    block = AllInOneBlock([(4, 3, 3)], subnet_constructor=subnet(2))
    torch.testing.assert_close(GlobalAffine(4).scale_logits, block.global_scale.flatten(), rtol=0, atol=0)
