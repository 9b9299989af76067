"""What every flow must be, over all of them: invertible, with the log-determinant of its Jacobian."""

import inspect
import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import anomalib_flows.flows
from anomalib_flows.flows import AffineCoupling, Bijection, Chain, GlobalAffine, Permutation, Subnet

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


MAKERS: dict[type[Bijection], Callable[[int, int], Bijection]] = {
    AffineCoupling: lambda channels, dims: AffineCoupling(channels, subnet(dims), clamp=1.3),
    GlobalAffine: lambda channels, dims: GlobalAffine(channels),
    Permutation: lambda channels, dims: Permutation(channels),
    Chain: lambda channels, dims: Chain(step(channels, dims), step(channels, dims)),
}
every_bijection = pytest.mark.parametrize("kind", MAKERS)
every_shape = pytest.mark.parametrize("shape", SHAPES)


@pytest.fixture
def make(disturb) -> Callable[[type[Bijection], int, int], Bijection]:
    """Make a flow with random weights in float64; weights of order 1 bring the clamp into play."""

    def build(kind: type[Bijection], channels: int, dims: int) -> Bijection:
        torch.manual_seed(channels)
        return disturb(MAKERS[kind](channels, dims).double(), scale=1.0)

    return build


def images(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_every_bijection_is_tested() -> None:
    public = {getattr(anomalib_flows.flows, name) for name in anomalib_flows.flows.__all__}
    flows = {c for c in public if inspect.isclass(c) and issubclass(c, Bijection) and not inspect.isabstract(c)}
    assert flows == set(MAKERS)


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


def test_a_new_step_is_nearly_the_identity_up_to_the_order_of_channels() -> None:
    x = images(2, 4, 8, 8)
    torch.manual_seed(0)
    flow = step(4, 2).double()
    z, _ = flow(x)
    torch.testing.assert_close(z, x[:, flow.steps[2].order], rtol=0.1, atol=0.2)
