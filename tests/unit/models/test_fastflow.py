"""Our FastFlow is the plain one built from FrEIA: same z, log-determinants, loss, maps and gradients."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from anomalib_flows.core.errors import InputError
from anomalib_flows.models.fastflow import FastFlow
from reference.freia_fastflow import FreiaFastFlow, copy_weights, matched_parameters

CASES: dict[str, dict[str, Any]] = {
    "odd sizes, 3x3": {"image_size": (97, 131), "backbone": "resnet18", "steps": 2},
    "3x3 and 1x1": {"image_size": (64, 96), "kernel_sizes": (3, 1), "steps": 5},
    "narrow, fixed norm": {"image_size": (65, 47), "hidden_ratio": 0.16, "steps": 3, "norm": "layer-fixed"},
    "one step, no norm": {"image_size": (64, 64), "steps": 1, "norm": "none", "clamp": 1.2},
    "transformer": {"image_size": (160, 96), "backbone": "test_vit", "steps": 2, "norm": "none"},
    "tall": {"image_size": (130, 40), "backbone": "test_efficientnet", "steps": 2, "kernel_sizes": (1, 3)},
}
WIDE_RESNET = {"image_size": (256, 256), "backbone": "wide_resnet50_2", "kernel_sizes": (3, 1), "steps": 8}
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}

every_dtype = pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
every_case = pytest.mark.parametrize(
    "options",
    [
        *(pytest.param(options, id=name) for name, options in CASES.items()),
        pytest.param(WIDE_RESNET, id="wide_resnet50_2", marks=pytest.mark.slow),
    ],
)


@dataclass
class Pair:
    """Our model and the reference with the same weights, and features of two images."""

    model: FastFlow
    reference: FreiaFastFlow
    features: list[Tensor]


def make_reference(model: FastFlow, kernel_sizes=(3,), steps=8, hidden_ratio=1.0, clamp=2.0, **_: Any) -> FreiaFastFlow:
    return FreiaFastFlow(model.encoder, model.encoder.shapes, steps, kernel_sizes, hidden_ratio, clamp)


@pytest.fixture
def make_pair(disturb) -> Callable[..., Pair]:
    def make(options: dict[str, Any], dtype: torch.dtype) -> Pair:
        torch.manual_seed(0)
        model = FastFlow(**FastFlow.published | {"backbone": "test_resnet", "weights": "random"} | options)
        for part in (model.norms, model.flows):
            disturb(part, scale=0.03)
        reference = make_reference(model, **options)
        if options.get("norm") == "none":
            reference.norms = nn.ModuleList(nn.Identity() for _ in model.norms)
        copy_weights(reference, model)
        model, reference = model.to(dtype), reference.to(dtype)
        return Pair(model, reference, model.encode(torch.randn(2, 3, *options["image_size"], dtype=dtype)))

    return make


@every_case
@every_dtype
def test_equals_the_reference(make_pair, relative_error, options, dtype) -> None:
    pair, tolerance = make_pair(options, dtype), TOLERANCE[dtype]
    expected = pair.reference.transform(pair.features)
    mine = list(pair.model.transform(pair.features))
    assert len(mine) == len(expected) == len(pair.model.encoder.shapes)
    for (z, log_det), (expected_z, expected_log_det) in zip(mine, expected, strict=True):
        assert z.dtype == log_det.dtype == dtype
        assert relative_error(z, expected_z) < tolerance
        assert relative_error(log_det, expected_log_det) < tolerance

    anomaly_map = pair.model.anomaly_map(pair.features)
    assert anomaly_map.shape == (2, 1, *options["image_size"])
    expected_map = pair.reference.anomaly_map(pair.features, options["image_size"])
    assert relative_error(anomaly_map, expected_map) < tolerance

    loss, expected_loss = pair.model.loss(pair.features), pair.reference.loss(pair.features)
    assert loss.shape == ()
    assert relative_error(loss, expected_loss) < tolerance

    loss.backward()
    expected_loss.backward()
    for theirs, ours in matched_parameters(pair.reference, pair.model):
        assert relative_error(ours.grad.view_as(theirs), theirs.grad) < 20 * tolerance


def test_training_takes_the_same_way_as_the_reference(make_pair, relative_error) -> None:
    pair = make_pair(CASES["3x3 and 1x1"], torch.float64)
    ours = pair.model.optimizer()
    trained = [p for p in pair.reference.parameters() if p.requires_grad]
    theirs = torch.optim.Adam(trained, lr=1e-3, weight_decay=1e-5)
    losses = []
    for _ in range(5):
        for optimizer, model in ((ours, pair.model), (theirs, pair.reference)):
            optimizer.zero_grad()
            loss = model.loss(pair.features)
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
    mine, expected = torch.stack(losses[::2]), torch.stack(losses[1::2])
    assert relative_error(mine, expected) < 1e-7
    assert mine[-1] < mine[0]


def test_the_reference_is_a_module_of_its_own(make_pair) -> None:
    pair = make_pair(CASES["one step, no norm"], torch.float32)
    images = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(pair.reference(images), pair.reference.loss(pair.model.encode(images)))
    assert not [name for name in pair.reference.state_dict() if "encode" in name]


@pytest.fixture(scope="module")
def model() -> FastFlow:
    torch.manual_seed(0)
    options = {"steps": 2, "learning_rate": 0.5, "weight_decay": 0.25}
    return FastFlow((64, 96), **FastFlow.published | {"backbone": "test_resnet", "weights": "random"} | options)


@pytest.fixture(scope="module")
def features(model) -> list[Tensor]:
    return model.encode(torch.randn(3, 3, 64, 96))


def test_features_are_those_of_the_encoder_however_they_lie_in_memory(model, relative_error) -> None:
    images = torch.randn(2, 3, 64, 96)
    features = model.encode(images)
    for feature, expected in zip(features, model.encoder(images), strict=True):
        assert relative_error(feature, expected) < 1e-5
    assert torch.equal(model.anomaly_map(features), model.anomaly_map([f.contiguous() for f in features]))


def test_the_tail_ranks_positions_where_all_likelihoods_are_zero() -> None:
    options = {"backbone": "test_resnet", "weights": "random", "strides": (8,), "coarse_weight": 1}
    with_tail, without = (FastFlow((64, 96), **options, tail=tail) for tail in (0.05, 0.0))
    energies = torch.tensor([0.5, 200.0, 300.0, math.inf])
    found = with_tail.anomaly(energies)
    torch.testing.assert_close(found[:3], 0.05 * torch.log(1 + energies[:3]) - torch.exp(-energies[:3]))
    assert found.isfinite().all()
    assert (found.diff() > 0).all()
    assert torch.equal(without.anomaly(energies), -torch.exp(-energies))


def test_one_map_is_shown_and_another_scores_the_image() -> None:
    options = {"backbone": "test_resnet", "weights": "random", "upsampling": "nearest", "tail": 0.1}
    two, one = (FastFlow((64, 96), **options, coarse_weight=weight).eval() for weight in (3.0, 1.0))
    one.load_state_dict(two.state_dict())
    features = two.encode(torch.randn(2, 3, 64, 96))
    fine, middle, coarse = map(two.upsample, two.scaled(two.energies(features)))
    shown, scoring = two.anomaly_map(features).split(1, dim=1)
    torch.testing.assert_close(shown, -(torch.exp(-fine) + torch.exp(-middle) + torch.exp(-coarse)) / 3)
    terms = [0.1 * torch.log(1 + e) - torch.exp(-e) for e in (fine, middle, coarse)]
    torch.testing.assert_close(scoring, (terms[0] + terms[1] + 3 * terms[2]) / 5)
    torch.testing.assert_close(one.anomaly_map(features), sum(terms) / 3)


@pytest.mark.parametrize(
    ("option", "value"),
    [("tail", -0.1), ("tail", math.nan), ("coarse_weight", 0.5), ("coarse_weight", 11), ("coarse_weight", math.nan)],
)
def test_invalid_weights_of_the_map_are_refused(option: str, value: float) -> None:
    with pytest.raises(InputError, match=f"^`{option}` cannot be .*: it must be from"):
        FastFlow((64, 96), "test_resnet", weights="random", **{option: value})


def test_an_image_is_judged_by_itself(model, features) -> None:
    together = model.anomaly_map(features)
    for i in range(3):
        alone = model.anomaly_map([f[i : i + 1] for f in features])
        torch.testing.assert_close(alone[0], together[i], rtol=1e-5, atol=1e-5)


def test_loss_and_map_are_float32_under_bfloat16_autocast(disturb) -> None:
    torch.manual_seed(0)
    model = disturb(FastFlow((128, 128), "test_resnet", weights="random", steps=3), scale=0.02)
    images = torch.randn(2, 3, 128, 128)
    features = model.encode(images)
    expected_loss, expected_map = model.loss(features), model.anomaly_map(features)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss, anomaly_map = model.loss(model.encode(images)), model.anomaly_map(features)
        log_dets = [log_det for _, log_det in model.transform(features)]
    assert loss.dtype == anomaly_map.dtype == torch.float32
    assert {d.dtype for d in log_dets} == {torch.float32}
    # Added up in bfloat16, 150,000 squares would stop growing at a few hundred.
    torch.testing.assert_close(loss, expected_loss, rtol=0.02, atol=0.0)
    torch.testing.assert_close(anomaly_map, expected_map, rtol=0.05, atol=0.02)
    loss.backward()
    trained = [p for group in model.optimizer().param_groups for p in group["params"]]
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in trained)


def test_the_encoder_is_never_trained(model) -> None:
    model = copy.deepcopy(model)
    before = copy.deepcopy(model.encoder.state_dict())
    model.train()
    assert model.training
    assert model.norms.training
    assert not any(module.training for module in model.encoder.modules())

    features = model.encode(torch.randn(4, 3, 64, 96) * 5 + 3)
    assert not any(f.requires_grad for f in features)
    optimizer = model.optimizer()
    model.loss(features).backward()
    optimizer.step()
    assert all(p.grad is None and not p.requires_grad for p in model.encoder.parameters())
    assert all(torch.equal(before[name], now) for name, now in model.encoder.state_dict().items())


def test_the_optimizer_holds_all_of_norms_and_flows_and_nothing_else(model) -> None:
    (group,) = model.optimizer().param_groups
    assert (group["lr"], group["weight_decay"]) == (0.5, 0.25)
    expected = {name for name, p in model.named_parameters() if name.startswith(("norms.", "flows."))}
    names = {id(p): name for name, p in model.named_parameters()}
    assert {names[id(p)] for p in group["params"]} == expected
    assert len(group["params"]) == len(expected)


@pytest.mark.parametrize(("kind", "count"), [("layer", 6), ("layer-fixed", 0), ("none", 0), ("whitened", 0)])
def test_layer_norms(kind, count) -> None:
    model = FastFlow((64, 96), "test_resnet", weights="random", steps=1, norm=kind)
    assert len(list(model.norms.parameters())) == count
    x = torch.randn(2, *model.encoder.shapes[1]) * 7 + 3
    normed = model.norms[1](x)
    if kind in ("none", "whitened"):  # which is set from training images only
        assert torch.equal(normed, x[:, : model.shapes[1][0]])
    else:
        torch.testing.assert_close(normed.mean((1, 2, 3)), torch.zeros(2), atol=1e-4, rtol=0)
        torch.testing.assert_close(normed.std((1, 2, 3)), torch.ones(2), atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("components", "widths"),
    [(None, (96, 96, 192)), (48, (24, 96, 48)), (5, (3, 96, 4)), (154, (77, 96, 154)), (500, (96, 96, 192))],
)
def test_networks_of_few_components_are_as_wide_as_those_of_all(components, widths) -> None:
    model = FastFlow((64, 64), "test_resnet", weights="random", strides=(16,), steps=1, components=components)
    first, second = (module for module in model.flows.modules() if isinstance(module, nn.Conv2d))
    assert (first.in_channels, first.out_channels, second.out_channels) == widths
    assert second.in_channels == first.out_channels


def test_no_permutation_matrix_is_stored(model) -> None:
    orders = {name: t for name, t in model.flows.state_dict().items() if name.endswith("order")}
    assert len(orders) == 2 * 3
    assert {t.ndim for t in orders.values()} == {1}
    weights = {name for name, _ in model.flows.named_parameters()}
    assert set(model.flows.state_dict()) == weights | set(orders)


def test_unknown_layers_are_refused() -> None:
    with pytest.raises(InputError, match=r"`layers` \[9\] do not exist in test_resnet: it has layers 0 to 4"):
        FastFlow((64, 64), "test_resnet", weights="random", layers=[1, 9])
