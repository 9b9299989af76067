"""Our CFLOW is the plain one built from FrEIA, with constants of the model in place of maxima over the test set."""

import copy
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from anomalib_flows.core.errors import InputError
from anomalib_flows.models.cflow import CFlow
from anomalib_flows.models.components.positions import FeatureVectors
from anomalib_flows.models.pipeline import Pipeline
from anomalib_flows.run.options import HeatmapOptions
from reference.freia_cflow import FreiaCFlow, copy_weights, matched_parameters

CASES: dict[str, dict[str, Any]] = {
    "odd sizes": {"image_size": (97, 131), "condition": 16, "steps": 2},
    "code of default length": {
        "image_size": (64, 96),
        "backbone": "test_efficientnet",
        "weights": "random",
        "steps": 1,
    },
    "transformer": {"image_size": (160, 96), "backbone": "test_vit", "condition": 32, "steps": 2},
    "no condition": {"image_size": (64, 96), "condition": 0, "steps": 3},
    "soft permutation": {"image_size": (64, 96), "condition": 8, "steps": 3, "permutation": "soft"},
    "other clamp, tall": {"image_size": (130, 40), "backbone": "test_efficientnet", "condition": 8, "clamp": 1.9},
    "in pieces": {"image_size": (97, 131), "condition": 16, "steps": 2, "max_vectors": 100},
    "position by position": {"image_size": (64, 64), "condition": 8, "steps": 1, "max_vectors": 3},
    "fewer at once than images": {"image_size": (64, 64), "condition": 0, "steps": 1, "max_vectors": 1},
    "reflected borders": {"image_size": (64, 96), "condition": 8, "steps": 1, "padding": "reflect"},
}
WIDE_RESNET = {"image_size": (128, 128), "backbone": "wide_resnet50_2"}
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}

every_dtype = pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
every_case = pytest.mark.parametrize(
    "options",
    [
        *(pytest.param(options, id=name) for name, options in CASES.items()),
        pytest.param(WIDE_RESNET, id="wide_resnet50_2", marks=pytest.mark.slow),
    ],
)
every_order = pytest.mark.parametrize("order", ["together", "published"])


@dataclass
class Pair:
    """Our model and the reference with the same weights, and features of three images."""

    model: CFlow
    reference: FreiaCFlow
    features: list[Tensor]


def small(**options: Any) -> CFlow:
    """Make a small model, with options that must not depend on what their defaults are."""
    fixed = {"image_size": (64, 96), "backbone": "test_resnet", "weights": "random", "condition": 8, "steps": 2}
    trained = {"vectors_per_step": 32, "order": "together", "components": None}
    return CFlow(**fixed | trained | {"learning_rate": 1e-3, "schedule": "constant"} | options)


def make_reference(model: CFlow, condition=128, steps=8, clamp=0.5, permutation="hard", **_: Any) -> FreiaCFlow:
    return FreiaCFlow(model.shapes, condition, steps, clamp, soft=permutation == "soft")


@pytest.fixture
def make_pair(disturb) -> Callable[..., Pair]:
    def make(options: dict[str, Any], dtype: torch.dtype) -> Pair:
        torch.manual_seed(0)
        model = small(**{"steps": 8, "condition": 128} | options)
        disturb(model.flows, scale=0.03)
        reference = make_reference(model, **options)
        copy_weights(reference, model)
        model, reference = model.to(dtype), reference.to(dtype)
        return Pair(model, reference, model.encode(torch.randn(3, 3, *options["image_size"], dtype=dtype)))

    return make


def vectors_of(features: list[Tensor]) -> list[FeatureVectors]:
    """All feature vectors of some images, as a training batch in the order of the positions."""
    return [
        FeatureVectors(i, f.permute(0, 2, 3, 1).reshape(-1, f.shape[1]), torch.arange(f[0, 0].numel()))
        for i, f in enumerate(features)
    ]


def plain(batch: list[FeatureVectors]) -> list[tuple[int, Tensor, Tensor]]:
    """The same batch with a position for each vector, as the reference takes it."""
    return [(i, vectors, p.repeat(len(vectors) // len(p))) for i, vectors, p in batch]


@every_case
@every_dtype
def test_equals_the_reference(make_pair, relative_error, options, dtype) -> None:
    pair, tolerance = make_pair(options, dtype), TOLERANCE[dtype]
    model, reference = pair.model, pair.reference
    assert len(pair.features) == len(model.flows) == len(reference.flows) >= 2
    for i, feature in enumerate(pair.features):
        log_prob = model.log_prob_map(i, feature)
        assert log_prob.dtype == dtype
        assert relative_error(log_prob, reference.log_prob_map(i, feature)) < tolerance

    model.calibrate([pair.features])
    anomaly_map = model.anomaly_map(pair.features)
    expected_map = reference.anomaly_map(pair.features, options["image_size"])
    assert anomaly_map.shape == (3, 1, *options["image_size"])
    assert relative_error(anomaly_map, expected_map) < max(tolerance, 1e-5)  # the constants are kept in float32
    assert float(expected_map.detach().std()) > 1e-3

    batch = vectors_of(pair.features)
    loss, expected_loss = model.loss(batch), reference.loss(plain(batch))
    assert loss.shape == ()
    assert relative_error(loss, expected_loss.to(loss)) < tolerance

    loss.backward()
    expected_loss.backward()
    for theirs, ours in matched_parameters(reference, model):
        assert relative_error(ours.grad.view_as(theirs), theirs.grad) < 20 * tolerance


@every_order
def test_training_takes_the_same_way_as_the_reference(make_pair, relative_error, order) -> None:
    options = CASES["odd sizes"] | {"order": order, "vectors_per_step": 60, "learning_rate": 2e-3}
    pair = make_pair(options, torch.float64)
    ours = pair.model.optimizer()
    theirs = torch.optim.Adam([p for p in pair.reference.parameters() if p.requires_grad], lr=2e-3)
    losses = []
    for batch in (list(pair.model.training_batches(pair.features)) * 8)[:8]:
        for optimizer, function, given in ((ours, pair.model.loss, batch), (theirs, pair.reference.loss, plain(batch))):
            optimizer.zero_grad()
            loss = function(given)
            loss.backward()
            optimizer.step()
            losses.append(loss.detach().double())
    mine, expected = torch.stack(losses[::2]), torch.stack(losses[1::2])
    assert relative_error(mine, expected) < 1e-7
    assert mine[-1] < mine[0]


@pytest.fixture(scope="module")
def model() -> CFlow:
    """A model whose flows have been moved, for other images than those of the tests calibrated."""
    torch.manual_seed(0)
    made = small(max_vectors=150)
    with torch.no_grad():
        for p in made.flows.parameters():
            p.add_(0.05 * torch.randn(p.shape))
    made.calibrate([made.encode(torch.randn(4, 3, 64, 96))])
    return made.eval()


@pytest.fixture(scope="module")
def features(model) -> list[Tensor]:
    return model.encode(torch.randn(5, 3, 64, 96, generator=torch.Generator().manual_seed(1)))


def part(features: list[Tensor], chosen: Any) -> list[Tensor]:
    return [f[chosen] for f in features]


def test_an_image_is_judged_by_itself(model, features) -> None:
    together = model.anomaly_map(features)
    largest = float(together.detach().abs().max())
    for i in range(5):
        alone = model.anomaly_map(part(features, slice(i, i + 1)))
        torch.testing.assert_close(alone[0], together[i], rtol=0, atol=1e-5 * largest)
        torch.testing.assert_close(alone.amax(), together[i].amax(), rtol=1e-5, atol=0)
    for other in (2, 4):
        neighbours = [f.clone() for f in features]
        for f in neighbours:
            f[other] = 30 * f[other].flip(0)
        changed = model.anomaly_map(neighbours)
        kept = [i for i in range(5) if i != other]
        assert torch.equal(changed[kept], together[kept])
        assert not torch.equal(changed[other], together[other])


def test_calibration_finds_the_maxima(model, features) -> None:
    model = copy.deepcopy(model)
    model.calibrate([features])
    maps = [model.log_prob_map(i, f) for i, f in enumerate(features)]
    assert model.max_log_probs.tolist() == [float(m.detach().max()) for m in maps]
    anomaly_map = model.anomaly_map(features).detach()
    assert float(anomaly_map.min()) == pytest.approx(0, abs=1e-6)
    assert 0 < float(model.max_likelihood_sum) <= len(features)
    assert float(anomaly_map.max()) <= float(model.max_likelihood_sum)


def test_images_that_are_far_more_likely_than_the_calibration_have_finite_maps(model, features) -> None:
    made = copy.deepcopy(model)
    made.calibrate([features])
    usual = made.anomaly_map(features)
    made.max_log_probs -= 500.0  # as if only an odd image had calibrated
    maps = made.anomaly_map(features)
    assert maps.isfinite().all()
    assert (maps <= usual.amax()).all()
    torch.testing.assert_close(maps, (made.max_likelihood_sum - len(features)).expand_as(maps))


@pytest.mark.parametrize("sizes", [[1] * 5, [2, 3], [4, 1]], ids=str)
def test_calibration_does_not_depend_on_how_images_are_cut_into_batches(model, features, sizes) -> None:
    whole, cut = copy.deepcopy(model), copy.deepcopy(model)
    whole.calibrate([features])
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    cut.calibrate(part(features, slice(start, start + size)) for start, size in zip(starts, sizes, strict=True))
    torch.testing.assert_close(cut.max_log_probs, whole.max_log_probs, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(cut.max_likelihood_sum, whole.max_likelihood_sum, rtol=1e-5, atol=1e-6)


def test_calibration_forgets_the_one_before(model, features) -> None:
    once, twice = copy.deepcopy(model), copy.deepcopy(model)
    once.calibrate([part(features, slice(0, 2))])
    twice.calibrate([features])
    assert not torch.equal(twice.max_log_probs, once.max_log_probs)
    twice.calibrate([part(features, slice(0, 2))])
    assert torch.equal(twice.max_log_probs, once.max_log_probs)
    assert torch.equal(twice.max_likelihood_sum, once.max_likelihood_sum)


def numbered(model: CFlow, images: int) -> list[Tensor]:
    """Feature maps in which each entry of a vector is the number of its image and position."""
    shapes = model.shapes
    return [torch.arange(float(images * h * w)).view(images, 1, h, w).expand(-1, c, -1, -1) for c, h, w in shapes]


def drawn(model: CFlow, images: int) -> dict[int, Tensor]:
    """The numbers of the vectors in the training batches of an epoch, layer by layer."""
    found: dict[int, list[Tensor]] = {}
    for batch in model.training_batches(numbered(model, images)):
        for layer, vectors, positions in batch:
            channels, height, width = model.encoder.shapes[layer]
            assert vectors.shape[1] == channels
            assert bool((vectors == vectors[:, :1]).all())
            numbers = vectors[:, 0].long()
            assert torch.equal(numbers % (height * width), positions.repeat(len(numbers) // len(positions)))
            found.setdefault(layer, []).append(numbers)
    return {layer: torch.cat(numbers) for layer, numbers in found.items()}


@pytest.mark.parametrize("images", [1, 3])
@pytest.mark.parametrize("vectors_per_step", [7, 24, 96, 500])
def test_together_no_vector_is_trained_on_twice_and_all_maps_give_as_many(images, vectors_per_step) -> None:
    model = small(vectors_per_step=vectors_per_step)
    numbers = drawn(model, images)
    smallest = min(height * width for _, height, width in model.encoder.shapes)
    for layer in range(len(model.encoder.shapes)):
        assert numbers[layer].unique().numel() == numbers[layer].numel() == numbers[0].numel()
        assert numbers[layer].tolist() != sorted(numbers[layer].tolist())
    assert smallest / 2 < numbers[0].numel() / images <= smallest


@pytest.mark.parametrize("images", [1, 3])
@pytest.mark.parametrize("vectors_per_step", [1, 6, 7, 18])
def test_as_published_every_vector_is_trained_on_once_but_for_the_rest(images, vectors_per_step) -> None:
    model = small(vectors_per_step=vectors_per_step, order="published")
    numbers = drawn(model, images)
    assert list(numbers) == sorted(numbers)
    for layer, (_, height, width) in enumerate(model.encoder.shapes):
        total = images * height * width
        if total >= vectors_per_step:
            assert (
                numbers[layer].unique().numel()
                == numbers[layer].numel()
                == total // vectors_per_step * vectors_per_step
            )
            assert 0 <= int(numbers[layer].min()) <= int(numbers[layer].max()) < total
        else:
            assert layer not in numbers


def test_as_published_a_step_is_of_one_layer_and_of_positions_of_many_images() -> None:
    model = small(vectors_per_step=12, order="published")
    for batch in model.training_batches(numbered(model, 3)):
        ((layer, vectors, positions),) = batch
        assert len(vectors) == len(positions) == 12
        _, height, width = model.encoder.shapes[layer]
        assert len({int(n) // (height * width) for n in vectors[:, 0]}) > 1


def test_together_a_step_has_all_layers_and_as_many_vectors_as_asked_for() -> None:
    model = small(vectors_per_step=32, layers=[2, 3])
    assert [h * w for _, h, w in model.encoder.shapes] == [96, 24]
    for batch in model.training_batches(numbered(model, 4)):
        assert [vectors.layer for vectors in batch] == [0, 1]
        assert [len(vectors.vectors) for vectors in batch] == [32, 32]


def test_together_each_map_gives_as_many_vectors_as_the_smallest_has_and_others_in_the_next_epoch() -> None:
    model = small(vectors_per_step=16, layers=[2, 3])
    torch.manual_seed(0)
    first, second = drawn(model, 2), drawn(model, 2)
    for layer in (0, 1):
        assert len(first[layer]) == first[layer].unique().numel() == 2 * 24
    assert first[0].sort().values.tolist() != second[0].sort().values.tolist()


def test_a_step_takes_at_least_one_position_of_each_image() -> None:
    model = small(vectors_per_step=2, layers=[2, 3])
    batches = list(model.training_batches(numbered(model, 5)))
    assert len(batches) == 24
    assert {len(vectors.vectors) for batch in batches for vectors in batch} == {5}


@every_order
@pytest.mark.parametrize("vectors_per_step", [1, 10, 64, 97, 4000])
def test_as_many_batches_come_as_are_announced(order, vectors_per_step) -> None:
    model = small(vectors_per_step=vectors_per_step, order=order)
    for images in (1, 2, 5, 8):
        batches = list(model.training_batches(numbered(model, images)))
        assert len(batches) == model.training_batch_count(images)


def test_the_constant_schedule_is_constant() -> None:
    model = small(schedule="constant")
    assert {model.learning_rate_factor(i / 50) for i in range(51)} == {1.0}


def test_the_cosine_schedule_rises_from_a_tenth_and_falls_to_nought() -> None:
    model = small(schedule="cosine")
    factors = [model.learning_rate_factor(i / 1000) for i in range(1001)]
    assert factors[0] == pytest.approx(0.1)
    assert 0.95 < max(factors) <= 1
    peak = factors.index(max(factors))
    assert 0 < peak <= 100
    assert factors[: peak + 1] == sorted(factors[: peak + 1])
    assert factors[peak:] == sorted(factors[peak:], reverse=True)
    assert factors[-1] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("steps_per_epoch", [1, 7, 40])
def test_the_published_schedule(steps_per_epoch) -> None:
    """Torch's cosine over 25 epochs; in the first two a line from a tenth to what is then reached."""
    model, lr = small(schedule="published"), 2e-4
    optimizer = torch.optim.SGD([torch.zeros(1)], lr)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=25, eta_min=lr * 1e-3)
    rates = []
    for _ in range(25):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        cosine.step()
    for step in range(25 * steps_per_epoch):
        warm = step / (2 * steps_per_epoch)
        expected = lr / 10 + warm * (rates[2] - lr / 10) if warm < 1 else rates[step // steps_per_epoch]
        assert lr * model.learning_rate_factor(step / (25 * steps_per_epoch)) == pytest.approx(expected, rel=1e-9)


def test_loss_and_map_are_float32_under_bfloat16_autocast(model, features) -> None:
    model = copy.deepcopy(model)
    batch = vectors_of(features)
    expected_loss, expected_map = model.loss(batch), model.anomaly_map(features)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        encoded = model.encode(torch.randn(1, 3, 64, 96))
        loss, anomaly_map = model.loss(batch), model.anomaly_map(features)
        assert model.loss(vectors_of(encoded)).dtype == torch.float32
        assert all(model.log_prob(vectors).dtype == torch.float32 for vectors in batch)
    assert loss.dtype == anomaly_map.dtype == torch.float32
    torch.testing.assert_close(loss, expected_loss, rtol=0.02, atol=0.0)
    torch.testing.assert_close(anomaly_map, expected_map, rtol=0.05, atol=0.05)
    loss.backward()
    assert all(bool(p.grad.isfinite().all()) for p in model.flows.parameters())


def test_the_encoder_is_never_trained(model) -> None:
    model = copy.deepcopy(model)
    before = copy.deepcopy(model.encoder.state_dict())
    model.train()
    assert model.training
    assert model.flows.training
    assert not any(module.training for module in model.encoder.modules())

    features = model.encode(torch.randn(4, 3, 64, 96) * 5 + 3)
    assert not any(f.requires_grad for f in features)
    optimizer = model.optimizer()
    for batch in model.training_batches(features):
        optimizer.zero_grad()
        model.loss(batch).backward()
        optimizer.step()
    assert all(p.grad is None and not p.requires_grad for p in model.encoder.parameters())
    assert all(torch.equal(before[name], now) for name, now in model.encoder.state_dict().items())


def test_the_optimizer_holds_all_of_the_flows_and_nothing_else() -> None:
    model = small(learning_rate=0.5)
    (group,) = model.optimizer().param_groups
    assert group["lr"] == 0.5
    names = {id(p): name for name, p in model.named_parameters()}
    expected = {name for name in names.values() if name.startswith("flows.")}
    assert {names[id(p)] for p in group["params"]} == expected
    assert len(group["params"]) == len(expected)


def test_positional_codes_take_no_room_in_a_checkpoint() -> None:
    with_code, without = small(condition=8).state_dict(), small(condition=0).state_dict()
    assert list(with_code) == list(without)
    constants = {name for name in with_code if not name.startswith(("encoder.", "flows.", "norms.", "scales."))}
    assert constants == {"max_log_probs", "max_likelihood_sum"}


def test_the_size_of_the_decoders_of_a_wide_resnet() -> None:
    with torch.device("meta"):
        options: dict[str, Any] = {"condition": 128, "steps": 8, "permutation": "hard", "components": None}
        model = CFlow((256, 256), "wide_resnet50_2", weights="random", **options)
    assert model.encoder.shapes == [(512, 32, 32), (1024, 16, 16), (2048, 8, 8)]
    weights = sum(p.numel() for p in model.flows.parameters())
    assert round(weights / 1e6, 1) == 81.6
    stored = sum(tensor.numel() * tensor.element_size() for tensor in model.flows.state_dict().values())
    assert 4 * weights < stored <= 330e6


def test_by_default_blocks_2_6_and_10_of_12_are_taken_without_the_final_norm() -> None:
    encoder = small(image_size=(32, 48), backbone="deit_tiny_patch16_224").encoder
    assert encoder.network.indices == [2, 6, 10]
    assert not encoder.network.final_norm


def test_by_default_maps_of_stride_8_16_and_32_are_taken() -> None:
    assert [(h, w) for _, h, w in small().encoder.shapes] == [(8, 12), (4, 6), (2, 3)]


@pytest.mark.parametrize("length", [2, 6, 127, -4])
def test_the_length_of_a_code_is_a_multiple_of_four(length) -> None:
    with pytest.raises(InputError, match=rf"`condition` cannot be {length}: .* a multiple of 4"):
        small(condition=length)


def test_unknown_layers_are_refused() -> None:
    with pytest.raises(InputError, match=r"`layers` \[9\] do not exist in test_resnet: it has layers 0 to 4"):
        small(layers=[1, 9])


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("steps", 0),
        ("clamp", 0.0),
        ("vectors_per_step", 0),
        ("max_vectors", 0),
        ("learning_rate", 0.0),
        ("learning_rate", math.nan),
        ("std", (0.2, 0.0, 0.2)),
    ],
)
def test_invalid_numbers_are_refused(option, value) -> None:
    with pytest.raises(InputError, match=rf"`{option}` cannot be {re.escape(str(value))}"):
        small(**{option: value})


def test_the_default_takes_what_few_small_images_have() -> None:
    model = small(vectors_per_step=None, layers=[2, 3])
    model.require_trainable(2)
    (batch,) = model.training_batches(numbered(model, 2))
    assert [len(vectors.vectors) for vectors in batch] == [48, 48]
    with pytest.raises(InputError, match="`vectors_per_step` cannot be 256"):
        small(vectors_per_step=None, order="published").require_trainable(1)


@every_order
def test_more_vectors_than_a_batch_of_images_has_are_refused(order) -> None:
    options = {"order": order}
    with pytest.raises(InputError, match=r"`vectors_per_step` cannot be 100000: .* 4 images have, or left out") as e:
        small(vectors_per_step=100000, **options).require_trainable(4)
    limit = int(re.search(r"at most (\d+)", str(e.value))[1])
    fitting = small(vectors_per_step=limit, **options)
    fitting.require_trainable(4)
    assert fitting.training_batch_count(4) >= 1
    with pytest.raises(InputError, match=f"`vectors_per_step` cannot be {limit + 1}"):
        small(vectors_per_step=limit + 1, **options).require_trainable(4)


class Maps(nn.Module):
    """What is deployed of a pipeline: images of the right size to maps and scores."""

    def __init__(self, pipeline: Pipeline) -> None:
        super().__init__()
        self.pipeline = pipeline

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.pipeline.maps(images)
        return maps, self.pipeline.postprocess.scores(maps)


@pytest.mark.parametrize("options", [{}, {"condition": 0, "permutation": "soft"}])
def test_the_whole_model_is_exported_as_it_is(options) -> None:
    detector = small(**options)
    pipeline = Pipeline(detector, heatmap=HeatmapOptions(smoothing=2.0, top_percent=1.0)).eval()
    images = torch.rand(2, 3, *detector.image_size) * 255
    exported = torch.export.export(Maps(pipeline), (images,)).module()
    with torch.no_grad():
        for mine, theirs in zip(Maps(pipeline)(images), exported(images), strict=True):
            torch.testing.assert_close(theirs, mine, rtol=1e-5, atol=1e-5)
