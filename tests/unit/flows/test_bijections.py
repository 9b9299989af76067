"""What every flow must be, over all of them: invertible, with the log-determinant of its Jacobian."""

import inspect
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest, special_ortho_group
from torch import Tensor, nn

import anomalib_flows.flows
from anomalib_flows.flows import (
    AffineCoupling,
    Bijection,
    Chain,
    Condition,
    DenseSubnet,
    GlobalAffine,
    Parallel,
    Permutation,
    SoftPermutation,
    Split,
    Subnet,
)
from anomalib_flows.flows import condition_on as rows
from anomalib_flows.flows.permutation import random_rotation

SHAPES = [(), (5,), (3, 2)]  # of what follows the channels: (B, C), (B, C, L), (B, C, H, W)
CHANNELS = [2, 3, 4, 7]


def subnet(dims: int) -> Subnet:
    """Two layers that mix neighbours, for tensors with so many dimensions after the channels."""
    if dims == 0:
        return lambda i, o: nn.Sequential(nn.Linear(i, 6), nn.Tanh(), nn.Linear(6, o))
    conv = (nn.Conv1d, nn.Conv2d)[dims - 1]
    return lambda i, o: nn.Sequential(conv(i, 6, 3, padding="same"), nn.Tanh(), conv(6, o, 1))


def step(channels: int, dims: int) -> Chain:
    """One step of a flow."""
    return Chain(AffineCoupling(channels, subnet(dims)), GlobalAffine(channels), Permutation(channels))


def soft_permutation(channels: int) -> SoftPermutation:
    """One that is a rotation up to the rounding of float64, not of float32."""
    return SoftPermutation(channels, torch.from_numpy(special_ortho_group.rvs(channels, random_state=channels)))


def conditional_coupling(channels: int) -> AffineCoupling:
    return AffineCoupling(channels, lambda i, o: DenseSubnet(i, o, LENGTH), clamp=1.9)


def conditional_chain(channels: int) -> Chain:
    """Two steps in chains of their own, through which the condition has to pass."""
    return Chain(
        Chain(conditional_coupling(channels), GlobalAffine(channels), Permutation(channels)),
        Chain(conditional_coupling(channels), GlobalAffine(channels), soft_permutation(channels)),
    )


MAKERS: dict[type[Bijection], Callable[[int, int], Bijection]] = {
    AffineCoupling: lambda channels, dims: AffineCoupling(channels, subnet(dims), clamp=1.3),
    GlobalAffine: lambda channels, dims: GlobalAffine(channels),
    Permutation: lambda channels, dims: Permutation(channels),
    SoftPermutation: lambda channels, dims: soft_permutation(channels),
    Chain: lambda channels, dims: Chain(step(channels, dims), step(channels, dims)),
}
CONDITIONAL: dict[str, Callable[[int], Bijection]] = {
    "coupling": conditional_coupling,
    "chain": conditional_chain,
    "coupling without a condition": lambda channels: AffineCoupling(channels, DenseSubnet),
}
LENGTH = 8  # of a condition
every_bijection = pytest.mark.parametrize("kind", MAKERS)
every_conditional = pytest.mark.parametrize("name", CONDITIONAL)
every_shape = pytest.mark.parametrize("shape", SHAPES)


@pytest.fixture
def make(disturb) -> Callable[[type[Bijection], int, int], Bijection]:
    """Make a flow with random weights in float64; weights of order 1 bring the clamp into play."""

    def build(kind: type[Bijection], channels: int, dims: int) -> Bijection:
        torch.manual_seed(channels)
        return disturb(MAKERS[kind](channels, dims).double(), scale=1.0)

    return build


@pytest.fixture
def make_conditional(disturb) -> Callable[[str, int], Bijection]:
    """Make a flow of feature vectors, likewise."""

    def build(name: str, channels: int) -> Bijection:
        torch.manual_seed(channels)
        return disturb(CONDITIONAL[name](channels).double(), scale=1.0)

    return build


def conditions(name: str, count: int, seed: int = 2) -> Tensor | None:
    """Draw a condition for each of so many vectors, if the flow takes any."""
    generator = torch.Generator().manual_seed(seed)
    return None if "without" in name else torch.randn(count, LENGTH, dtype=torch.float64, generator=generator)


def condition_of(c: Tensor | None) -> Condition | None:
    return None if c is None else rows(c)


def images(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_every_bijection_is_tested() -> None:
    public = {getattr(anomalib_flows.flows, name) for name in anomalib_flows.flows.__all__}
    flows = {c for c in public if inspect.isclass(c) and issubclass(c, Bijection) and not inspect.isabstract(c)}
    assert flows == {*MAKERS, Parallel, Split}


@every_bijection
@every_shape
@pytest.mark.parametrize("channels", CHANNELS)
def test_inverse_undoes_forward_and_the_reverse(make, kind, shape, channels) -> None:
    flow, x = make(kind, channels, len(shape)), images(3, channels, *shape)
    z, log_det = flow(x)
    back, inverse_log_det = flow.inverse(z)
    assert z.shape == x.shape
    assert log_det.shape == inverse_log_det.shape == (3,)
    torch.testing.assert_close(back, x, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(inverse_log_det, -log_det, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(flow(flow.inverse(x)[0])[0], x, rtol=1e-10, atol=1e-10)


@every_bijection
@every_shape
@pytest.mark.parametrize("channels", CHANNELS)
def test_log_det_is_that_of_the_jacobian(make, kind, shape, channels) -> None:
    flow, x = make(kind, channels, len(shape)), images(2, channels, *shape)
    for direction in (flow.forward, flow.inverse):
        true = []
        for one in x:
            jacobian = torch.autograd.functional.jacobian(lambda i, f=direction: f(i[None])[0][0], one)
            true.append(torch.linalg.slogdet(jacobian.reshape(one.numel(), one.numel())).logabsdet)
        log_det = direction(x)[1].detach()
        torch.testing.assert_close(log_det, torch.stack(true), rtol=1e-9, atol=1e-9)


@every_bijection
def test_an_image_does_not_see_its_neighbours(make, kind) -> None:
    flow, x = make(kind, 5, 2), images(3, 5, 4, 3)
    z, log_det = flow(x)
    for i in range(len(x)):
        alone, log_det_alone = flow(x[i : i + 1])
        torch.testing.assert_close(alone[0], z[i], rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(log_det_alone[0], log_det[i], rtol=1e-12, atol=1e-12)


@every_bijection
def test_log_det_is_summed_in_float32_under_bfloat16_autocast(make, kind) -> None:
    flow, x = make(kind, 6, 2).float(), images(2, 6, 40, 30).float()
    expected = flow(x)[1]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        z, log_det = flow(x)
        back, inverse_log_det = flow.inverse(z)
    assert log_det.dtype == inverse_log_det.dtype == torch.float32
    # Summed in bfloat16, these thousands of terms would be off by far more than the rounding of one.
    torch.testing.assert_close(log_det, expected, rtol=1e-2, atol=1.0)
    torch.testing.assert_close(inverse_log_det, -log_det, rtol=1e-2, atol=1.0)
    torch.testing.assert_close(back.float(), x, rtol=0.1, atol=0.1)


@every_bijection
def test_log_det_of_half_precision_tensors_is_float32(make, kind) -> None:
    flow = make(kind, 4, 2).bfloat16()
    x = images(2, 4, 3, 5).bfloat16()
    assert flow(x)[1].dtype == flow.inverse(x)[1].dtype == torch.float32


@every_conditional
@pytest.mark.parametrize("channels", CHANNELS)
def test_a_condition_leaves_a_flow_invertible(make_conditional, name, channels) -> None:
    flow, x, condition = make_conditional(name, channels), images(5, channels), condition_of(conditions(name, 5))
    z, log_det = flow(x, condition)
    back, inverse_log_det = flow.inverse(z, condition)
    assert log_det.shape == inverse_log_det.shape == (5,)
    torch.testing.assert_close(back, x, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(inverse_log_det, -log_det, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(flow(flow.inverse(x, condition)[0], condition)[0], x, rtol=1e-10, atol=1e-10)


@every_conditional
@pytest.mark.parametrize("channels", CHANNELS)
def test_log_det_is_that_of_the_jacobian_given_the_condition(make_conditional, name, channels) -> None:
    flow, x, c = make_conditional(name, channels), images(3, channels), conditions(name, 3)
    for direction in (flow.forward, flow.inverse):
        for i, log_det in enumerate(direction(x, condition_of(c))[1]):
            own = condition_of(None if c is None else c[i : i + 1])
            jacobian = torch.autograd.functional.jacobian(lambda v, f=direction, o=own: f(v[None], o)[0][0], x[i])
            torch.testing.assert_close(log_det, torch.linalg.slogdet(jacobian).logabsdet, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["coupling", "chain"])
def test_a_vector_depends_on_its_own_condition_alone(make_conditional, name) -> None:
    flow, x = make_conditional(name, 6), images(4, 6)
    c, other = conditions(name, 4), conditions(name, 4, seed=3)
    other[1] = c[1]
    (z, log_det), (other_z, other_log_det) = flow(x, rows(c)), flow(x, rows(other))
    torch.testing.assert_close(other_z[1], z[1], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(other_log_det[1], log_det[1], rtol=1e-12, atol=1e-12)
    changed = [0, 2, 3]
    assert bool(((z - other_z)[changed].abs().amax(1) > 1e-3).all())
    assert bool(((log_det - other_log_det)[changed].abs() > 1e-3).all())
    z_alone, _ = flow(x[2:3], rows(c[2:3]))
    torch.testing.assert_close(z_alone[0], z[2], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", [GlobalAffine, Permutation, SoftPermutation])
def test_flows_without_a_condition_ignore_it(make, kind) -> None:
    def fail(hidden: Tensor, weight: Tensor) -> Tensor:
        raise AssertionError("the condition was asked for")

    flow, x = make(kind, 4, 1), images(2, 4, 3)
    for direction in (flow.forward, flow.inverse):
        assert all(map(torch.equal, direction(x, fail), direction(x)))


@pytest.mark.parametrize(("inputs", "length", "width"), [(3, 8, 2), (1, 4, 3), (5, 0, 2)])
def test_a_dense_subnet_is_two_layers_of_vector_and_condition_in_one(inputs, length, width) -> None:
    torch.manual_seed(0)
    net = DenseSubnet(inputs, 4, length, width).double()
    plain = nn.Sequential(nn.Linear(inputs + length, width * (inputs + length)), nn.ReLU())
    plain.append(nn.Linear(width * (inputs + length), 4)).double()
    plain.load_state_dict(dict(zip(plain.state_dict(), net.state_dict().values(), strict=True)))
    x, c = images(7, inputs), torch.randn(7, length, dtype=torch.float64)
    a, expected = net(x, rows(c) if length else None), plain(torch.cat((x, c), dim=1))
    torch.testing.assert_close(a, expected, rtol=1e-12, atol=1e-12)
    for net_grad, plain_grad in zip(
        torch.autograd.grad(a.square().sum(), [*net.parameters()]),
        torch.autograd.grad(expected.square().sum(), [*plain.parameters()]),
        strict=True,
    ):
        torch.testing.assert_close(net_grad, plain_grad, rtol=1e-11, atol=1e-11)


def test_a_condition_that_is_given_adds_its_image_and_changes_nothing_else() -> None:
    hidden, c, weight = torch.randn(5, 3), torch.randn(5, 2), torch.randn(3, 2)
    kept = [t.clone() for t in (hidden, c, weight)]
    torch.testing.assert_close(rows(c)(hidden, weight), hidden + c @ weight.T)
    assert all(map(torch.equal, (hidden, c, weight), kept))


@given(
    channels=st.integers(2, 9),
    positions=st.lists(st.integers(1, 5), max_size=2),
    batch=st.integers(1, 3),
    clamp=st.floats(0.1, 3.0),
    size=st.floats(0.0, 30.0),
    seed=st.integers(0, 999),
)
@settings(max_examples=60, deadline=None, derandomize=True, database=None)
def test_a_coupling_is_bounded_and_invertible_whatever_its_network_says(
    channels, positions, batch, clamp, size, seed
) -> None:
    torch.manual_seed(seed)
    coupling = AffineCoupling(channels, subnet(len(positions)), clamp).double()
    coupling.subnet[-1].weight.data.mul_(10**size / 1e10)
    x = torch.randn(batch, channels, *positions, dtype=torch.float64)
    z, log_det = coupling(x)
    changed = channels // 2 * math.prod(positions)
    assert bool((log_det.abs() <= clamp * changed * (1 + 1e-12)).all())
    first = channels - channels // 2
    assert torch.equal(z[:, :first], x[:, :first])
    back, inverse_log_det = coupling.inverse(z)
    # z is a sum of x and the shift: what is lost of x is the rounding of the larger one.
    torch.testing.assert_close(back, x, rtol=0, atol=1e-13 * math.exp(clamp) * (1 + float(z.detach().abs().max())))
    assert torch.equal(inverse_log_det, -log_det)


@pytest.mark.parametrize("channels", [0, 1])
def test_a_coupling_needs_two_channels(channels) -> None:
    with pytest.raises(ValueError, match=f"at least 2, not {channels}"):
        AffineCoupling(channels, subnet(2))


def test_a_chain_needs_a_step() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Chain()


@given(st.permutations(range(6)))
@settings(max_examples=30, deadline=None, derandomize=True, database=None)
def test_a_permutation_is_the_product_with_its_matrix(order) -> None:
    x = images(2, 6, 2, 3)
    matrix = torch.eye(6, dtype=torch.float64)[order]
    z, log_det = Permutation(6, torch.tensor(order))(x)
    assert torch.equal(z, torch.einsum("ij,bjhw->bihw", matrix, x))
    assert torch.equal(log_det, torch.zeros(2, dtype=torch.float64))


@pytest.mark.parametrize("channels", [2, 5, 64])
def test_a_permutation_is_kept_as_an_index(channels) -> None:
    permutation = Permutation(channels)
    assert {name: tuple(t.shape) for name, t in permutation.state_dict().items()} == {"order": (channels,)}
    assert sum(b.numel() for b in permutation.buffers()) == channels
    assert not list(permutation.parameters())
    assert permutation.order.sort().values.tolist() == list(range(channels))


@pytest.mark.parametrize("channels", [1, 2, 3, 17, 96])
def test_a_random_rotation_keeps_lengths_and_orientation(channels) -> None:
    torch.manual_seed(channels)
    for _ in range(20):
        rotation = random_rotation(channels)
        assert rotation.dtype == torch.float32
        torch.testing.assert_close(rotation @ rotation.T, torch.eye(channels), rtol=0, atol=2e-6)
        assert abs(float(torch.linalg.det(rotation.double())) - 1) < 1e-4


def test_random_rotations_are_uniform() -> None:
    """In the plane the angle is; in space each entry is (Archimedes), and the angle has density 1 - cos."""
    torch.manual_seed(0)
    plane = torch.stack([random_rotation(2) for _ in range(2000)]).numpy()
    assert kstest(np.arctan2(plane[:, 1, 0], plane[:, 0, 0]), "uniform", (-np.pi, 2 * np.pi)).pvalue > 0.001
    space = torch.stack([random_rotation(3) for _ in range(2000)]).numpy()
    for entries in space.reshape(-1, 9).T:
        assert kstest(entries, "uniform", (-1, 2)).pvalue > 0.001
    angles = np.arccos(np.clip((np.trace(space, axis1=1, axis2=2) - 1) / 2, -1, 1))
    assert kstest(angles, lambda a: (a - np.sin(a)) / np.pi).pvalue > 0.001


@pytest.mark.parametrize("shape", [(5,), (5, 3), (5, 2, 4)], ids=str)
def test_a_soft_permutation_is_the_product_with_its_rotation(shape) -> None:
    flow, x = soft_permutation(5), images(2, *shape)
    assert {name: tuple(t.shape) for name, t in flow.state_dict().items()} == {"rotation": (5, 5)}
    assert not list(flow.parameters())
    z, log_det = flow(x)
    torch.testing.assert_close(z.movedim(1, -1), x.movedim(1, -1) @ flow.rotation.T, rtol=1e-12, atol=1e-12)
    assert torch.equal(log_det, torch.zeros(2, dtype=torch.float64))


def test_a_new_soft_permutation_is_undone_in_float32() -> None:
    torch.manual_seed(0)
    flow, x = SoftPermutation(300), images(4, 300).float()
    assert float((flow(x)[0] - x).abs().max()) > 1
    torch.testing.assert_close(flow.inverse(flow(x)[0])[0], x, rtol=1e-5, atol=1e-5)


def test_a_new_step_is_nearly_the_identity_up_to_the_order_of_channels() -> None:
    x = images(2, 4, 8, 8)
    torch.manual_seed(0)
    flow = step(4, 2).double()
    z, _ = flow(x)
    torch.testing.assert_close(z, x[:, flow.steps[2].order], rtol=0.1, atol=0.2)
