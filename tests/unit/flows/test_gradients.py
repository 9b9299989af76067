"""Gradients that are written out are those that differences tell."""

import pytest
import torch
from torch import nn

from anomalib_flows.flows import AffineCoupling, Chain, GlobalAffine, Permutation
from anomalib_flows.flows.coupling import couple_with_gradient
from anomalib_flows.flows.permutation import permute
from anomalib_flows.flows.scaling import scale_channels


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64).requires_grad_()


@pytest.mark.parametrize("clamp", [0.5, 2.0])
@pytest.mark.parametrize("channels", [(2, 1), (3, 3)])
@pytest.mark.parametrize("rest", [(), (3,), (3, 2)])
def test_the_couplings_gradient(channels, rest, clamp) -> None:
    torch.manual_seed(0)
    first, second = channels
    x1, x2, a = drawn(4, first, *rest), drawn(4, second, *rest), drawn(4, 2 * second, *rest)
    assert torch.autograd.gradcheck(lambda *xs: couple_with_gradient(*xs, clamp), (x1, x2, a))


@pytest.mark.parametrize("rest", [(), (3,), (3, 2)])
def test_the_permutations_gradient(rest) -> None:
    order = torch.tensor([3, 4, 1, 0, 2])  # which is not its own inverse
    assert torch.autograd.gradcheck(lambda x: permute(x, order), (drawn(2, 5, *rest),))


@pytest.mark.parametrize("rest", [(), (3,), (3, 2)])
def test_the_scalings_gradient(rest) -> None:
    torch.manual_seed(0)
    assert torch.autograd.gradcheck(scale_channels, (drawn(2, 5, *rest), drawn(5), drawn(5)))


@pytest.mark.filterwarnings("ignore")  # of torch.jit, which is old
def test_transforms_of_functions_and_traces_take_the_flows_as_they_are(tmp_path) -> None:
    flow = Chain(AffineCoupling(4, nn.Linear), GlobalAffine(4), Permutation(4)).double()
    x = torch.randn(1, 4, dtype=torch.float64)
    slopes = torch.func.jacrev(lambda x: flow(x)[0])(x)[0, :, 0]
    torch.testing.assert_close(torch.linalg.slogdet(slopes)[1], flow(x)[1][0])
    torch.jit.save(torch.jit.trace(flow, x), tmp_path / "flow.pt")


def test_with_and_without_gradients_the_same_is_computed() -> None:
    flow, x = AffineCoupling(5, lambda i, o: nn.Conv2d(i, o, 3, padding=1)), torch.randn(2, 5, 4, 4)
    with torch.no_grad():
        plain = [*flow(x), *Permutation(5, torch.tensor([3, 1, 0, 2, 4]))(x)]
    trained = [*flow(x), *Permutation(5, torch.tensor([3, 1, 0, 2, 4]))(x)]
    assert all(map(torch.equal, plain, trained))


def test_a_network_of_another_type_gets_its_gradient_in_it() -> None:
    x2, a = torch.randn(2, 3, 4, 4, requires_grad=True), torch.randn(2, 6, 4, 4).bfloat16().requires_grad_()
    z, log_det = couple_with_gradient(torch.randn(2, 3, 4, 4), x2, a, 1.0)
    (z.sum() + log_det.sum()).backward()
    assert (z.dtype, log_det.dtype, x2.grad.dtype, a.grad.dtype) == (*[torch.float32] * 3, torch.bfloat16)
