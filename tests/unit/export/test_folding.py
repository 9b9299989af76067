"""A folded flow is as likely as the flow it was made of."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from anomalib_flows.export.folded_flow import FoldedFlow, Reordering
from anomalib_flows.export.folding import MatrixUpsample, deployable, fold_flow
from anomalib_flows.flows import (
    AffineCoupling,
    Bijection,
    Chain,
    DenseSubnet,
    GlobalAffine,
    Parallel,
    Permutation,
    SoftPermutation,
    Split,
)
from anomalib_flows.models.cflow import CFlow, position_steps
from anomalib_flows.models.components.positions import PositionalCode, PositionFlow
from anomalib_flows.models.fastflow import FastFlow, conv_flow, conv_subnet

HEIGHT, WIDTH = 5, 6


@pytest.fixture
def likelihoods(disturb) -> Callable[..., tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]]:
    """Move a flow's weights, fold it, and return energies and log-determinants of both, (B, 1, h, w) and (B,)."""

    def both(flow: Chain, channels: int, code: PositionalCode | None = None):
        flow = disturb(flow, 0.3)
        shift_scales(flow)
        x = torch.randn(3, channels, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1))
        folded = fold_flow(flow)
        assert isinstance(folded, FoldedFlow)
        with torch.no_grad():
            z, log_det = folded.on_map(x)
            true = apply(flow.double(), x.double(), code)
        assert log_det.shape == (3, 1, HEIGHT, WIDTH)
        return (z.double().square().sum(1), log_det.double().sum((1, 2, 3))), true

    return both


@torch.no_grad()
def shift_scales(flow: nn.Module) -> None:
    """Let scales differ by far more than :func:`disturb` moves them: what is folded must not be near 1."""
    generator = torch.Generator().manual_seed(2)
    for module in flow.modules():
        if isinstance(module, GlobalAffine):
            module.scale_logits += 4 * torch.randn(module.scale_logits.shape, generator=generator)
            module.offset += torch.randn(module.offset.shape, generator=generator)


def fastflow_chain(channels: int, steps: int, kernels: tuple[int, ...] = (3,)) -> Chain:
    return conv_flow(channels, [conv_subnet(kernels[i % len(kernels)], 1.5) for i in range(steps)], 1.1)


def apply(flow: Chain, x: Tensor, code: PositionalCode | None) -> tuple[Tensor, Tensor]:
    """Energies (B, h, w) and log-determinants (B,) of maps; dense networks take their vectors one by one."""
    if not any(isinstance(module, DenseSubnet) for module in flow.modules()):
        z, log_det = flow(x)
        return z.square().sum(1), log_det
    vectors = x.permute(0, 2, 3, 1).flatten(0, 2)
    z, log_det = flow(vectors, None if code is None else copy.deepcopy(code).double().everywhere())
    return z.square().sum(1).view(len(x), HEIGHT, WIDTH), log_det.view(len(x), -1).sum(1)


@pytest.mark.parametrize("channels", [2, 7, 12])
@pytest.mark.parametrize("kernels", [(3,), (3, 1)])
def test_fastflow(likelihoods, channels: int, kernels: tuple[int, ...]) -> None:
    flow = fastflow_chain(channels, 3, kernels)
    torch.testing.assert_close(*likelihoods(flow, channels), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("channels", [2, 7, 12])
@pytest.mark.parametrize("condition", [0, 8])
@pytest.mark.parametrize("permutation", ["hard", "soft"])
def test_cflow(likelihoods, channels: int, condition: int, permutation: str) -> None:
    code = PositionalCode(condition, HEIGHT, WIDTH) if condition else None
    flow = PositionFlow(*position_steps(channels, condition, 3, 1.9, permutation), code=code)
    torch.testing.assert_close(*likelihoods(flow, channels, code), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("channels", [Reordering.FEW, Reordering.FEW + 1])
def test_reordering_is_exact_with_few_channels_and_with_many(channels: int) -> None:
    permutation, x = Permutation(channels), 1e3 * torch.randn(2, channels, 3, 4)
    torch.testing.assert_close(Reordering(permutation.order)(x), permutation(x)[0], rtol=0, atol=0)


def test_a_single_step_has_no_permutation_left(likelihoods) -> None:
    code = PositionalCode(8, HEIGHT, WIDTH)
    flow = PositionFlow(*position_steps(4, 8, 1, 1.9, "soft"), code=code)
    torch.testing.assert_close(*likelihoods(flow, 4, code), rtol=1e-4, atol=1e-4)
    (step,) = fold_flow(flow).steps
    assert step.rotation is None
    assert step.permutation is None


def test_the_flow_itself_is_left_as_it_is(disturb) -> None:
    flow = disturb(fastflow_chain(4, 2))
    before = copy.deepcopy(flow.state_dict())
    with torch.no_grad():
        for p in fold_flow(flow).parameters():
            p.zero_()
    torch.testing.assert_close(dict(flow.state_dict()), dict(before), rtol=0, atol=0)


def test_positions_take_no_table_of_all_of_them() -> None:
    code = PositionalCode(8, 40, 50)
    folded = fold_flow(PositionFlow(*position_steps(4, 8, 2, 1.9, "hard"), code=code))
    hidden = 2 * (2 + 8)
    assert max(buffer.numel() for buffer in folded.buffers()) == hidden * 50


def convolutional(bias: bool = True, activation: Callable[[], nn.Module] = nn.ReLU):
    return lambda i, o: nn.Sequential(nn.Conv2d(i, 4, 1), activation(), nn.Conv2d(4, o, 1, bias=bias))


class OtherCoupling(AffineCoupling):
    """Of a plug-in, which may do anything."""


def step(coupling: nn.Module) -> Chain:
    return Chain(coupling, GlobalAffine(4), Permutation(4))


@pytest.mark.parametrize(
    "flow",
    [
        nn.Identity(),
        AffineCoupling(4, convolutional()),
        Chain(AffineCoupling(4, convolutional()), Permutation(4)),
        Chain(Chain(AffineCoupling(4, convolutional()), GlobalAffine(4))),
        Chain(Chain(GlobalAffine(4), AffineCoupling(4, convolutional()), SoftPermutation(4))),
        Chain(step(OtherCoupling(4, convolutional()))),
        Chain(step(AffineCoupling(4, convolutional(bias=False)))),
        Chain(step(AffineCoupling(4, convolutional(activation=nn.Tanh)))),
        Chain(step(AffineCoupling(4, nn.Linear))),
        Chain(step(AffineCoupling(4, convolutional())), GlobalAffine(4)),
        Chain(step(AffineCoupling(4, DenseSubnet))),
        Parallel(GlobalAffine(4), Permutation(4)),
        Split(2, GlobalAffine(2)),
    ],
    ids=[
        "no chain",
        "no chain of chains",
        "flat",
        "no permutation",
        "another order",
        "another coupling",
        "no bias",
        "another activation",
        "another network",
        "one step of another kind",
        "of vectors",
        "nothing known in parallel",
        "split",
    ],
)
def test_flows_of_other_steps_come_back_as_they_are(flow: nn.Module) -> None:
    assert fold_flow(flow) is flow


def test_the_same_steps_are_known() -> None:
    assert isinstance(fold_flow(Chain(step(AffineCoupling(4, convolutional())))), FoldedFlow)


def test_a_wrong_shape_of_the_codes_shows() -> None:
    code = PositionalCode(8, 9, 4)
    folded = fold_flow(PositionFlow(*position_steps(4, 8, 1, 1.9, "hard"), code=code))
    with pytest.raises(RuntimeError, match="size"):
        folded(torch.zeros(1, 4, 4, 9))


class Fusion(Bijection):
    """Of a plug-in: takes two maps of one size, and adds the first map's first channel to the second map."""

    def forward(self, x, condition=None):
        return (x[0], x[1] + x[0][:, :1]), torch.zeros(len(x[0]))

    def inverse(self, z, condition=None):
        return (z[0], z[1] - z[0][:, :1]), torch.zeros(len(z[0]))


def test_within_other_flows_channels_keep_their_order_and_the_rest_stays(disturb) -> None:
    def both() -> Parallel:
        return Parallel(fastflow_chain(4, 2), fastflow_chain(6, 2))

    flow = disturb(Chain(both(), Fusion(), both()), 0.2)
    folded = fold_flow(flow)
    assert [type(step) for step in folded.steps] == [Parallel, Fusion, Parallel]
    assert all(isinstance(f, FoldedFlow) for i in (0, 2) for f in folded.steps[i].flows)
    assert folded.steps[0].flows[0].steps[-1].permutation is not None
    assert folded.steps[2].flows[0].steps[-1].permutation is None
    x = torch.randn(3, 4, 5, 6), torch.randn(3, 6, 5, 6)
    with torch.no_grad():
        (z, log_det), (expected, expected_log_det) = folded(x), flow(x)
    torch.testing.assert_close(log_det, expected_log_det, rtol=1e-4, atol=1e-4)
    for one, other in zip(z, expected, strict=True):
        torch.testing.assert_close(one.square().sum(1), other.square().sum(1), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(fold_flow(flow, ordered=True)(x)[0], flow(x)[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("model", [FastFlow, CFlow])
def test_a_detector_is_folded_in_a_copy(model) -> None:
    detector = model((64, 64), "test_efficientnet", weights="random", steps=2)
    lean = deployable(detector)
    assert all(isinstance(flow, FoldedFlow) for flow in lean.flows)
    assert isinstance(lean.upsample, MatrixUpsample)
    assert not any(isinstance(flow, FoldedFlow) for flow in detector.flows)
    assert lean.encoder is detector.encoder
