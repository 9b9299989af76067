"""Flows of several tensors: one for each, and channels that leave early."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from anomalib_flows.flows import AffineCoupling, Bijection, Chain, GlobalAffine, Parallel, Permutation, Split
from anomalib_flows.testing import check_bijection


def step(channels: int) -> Chain:
    def subnet(inputs: int, outputs: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(inputs, 3, 3, padding=1), nn.Tanh(), nn.Conv2d(3, outputs, 1))

    return Chain(AffineCoupling(channels, subnet), GlobalAffine(channels), Permutation(channels))


def u_shape() -> Split:
    """Emit two of six channels, transform the others, emit two of these, transform the last two."""
    return Split(4, Chain(step(4), Split(2, step(2))))


FLOWS: dict[str, tuple[Callable[[], Bijection], list[tuple[int, ...]]]] = {
    "parallel": (lambda: Parallel(step(4), step(3)), [(4, 2, 2), (3, 1, 2)]),
    "parallel of one": (lambda: Parallel(step(4)), [(4, 2, 2)]),
    "chain of parallels": (
        lambda: Chain(Parallel(step(2), step(2)), Parallel(GlobalAffine(2), step(2))),
        [(2, 2, 2), (2, 1, 1)],
    ),
    "split": (lambda: Split(2, step(2)), [(5, 2, 2)]),
    "u-shape": (u_shape, [(6, 2, 2)]),
    "split, then one flow each": (lambda: Chain(Split(2, step(2)), Parallel(step(2), step(3))), [(5, 2, 2)]),
}
every_flow = pytest.mark.parametrize("name", FLOWS)


@every_flow
def test_it_is_a_bijection(name: str) -> None:
    torch.manual_seed(0)
    make, shapes = FLOWS[name]
    check_bijection(make(), shapes if "parallel" in name else shapes[0])


@every_flow
def test_an_image_does_not_see_its_neighbours(name: str) -> None:
    torch.manual_seed(0)
    make, shapes = FLOWS[name]
    flow, tensors = make().double(), tuple(torch.randn(3, *shape, dtype=torch.float64) for shape in shapes)
    z, log_det = flow(tensors if "parallel" in name else tensors[0])
    alone = tuple(t[1:2] for t in tensors)
    z_alone, log_det_alone = flow(alone if "parallel" in name else alone[0])
    torch.testing.assert_close(log_det_alone[0], log_det[1])
    for one, other in zip(z_alone, z, strict=True):
        torch.testing.assert_close(one[0], other[1])


def test_channels_leave_in_order() -> None:
    x = torch.arange(6.0).view(1, 6, 1, 1)
    flow = Split(4, Split(2, Permutation(2, torch.tensor([0, 1]))))
    z, log_det = flow(x)
    assert [part.flatten().tolist() for part in z] == [[0, 1], [2, 3], [4, 5]]
    assert log_det.tolist() == [0]
    assert torch.equal(flow.inverse(z)[0], x)


def test_a_condition_reaches_every_flow() -> None:
    asked: list[Tensor] = []

    class Asking(GlobalAffine):
        def forward(self, x: Tensor, condition=None):
            asked.append(condition)
            return super().forward(x)

    condition = object()
    Chain(Split(2, Asking(2)), Parallel(Asking(2), Asking(1)))(torch.zeros(1, 3), condition)
    assert asked == [condition] * 3


def test_nothing_to_do_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Parallel()
    with pytest.raises(ValueError, match="at least 1 channel, not 0"):
        Split(0, Permutation(2))
    with pytest.raises(ValueError, match="shorter|longer"):
        Parallel(Permutation(2), Permutation(2))((torch.zeros(1, 2),))
