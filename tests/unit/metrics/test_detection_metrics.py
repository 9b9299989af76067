"""Metrics as torchmetrics: values of scikit-learn and torchmetrics, and the manners of torchmetrics."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import BinaryAUROC, BinaryAveragePrecision, BinaryF1Score

from anomalib_flows.core.errors import InputError
from anomalib_flows.metrics import AUPIMO, AUPRO, AUROC, F1, AveragePrecision, F1Max, F1MaxThreshold

RANKED = [AUROC, AveragePrecision, F1Max]
MAPS = {"AUPRO": AUPRO, "AUPRO binned": lambda: AUPRO(thresholds=GRID), "AUPIMO": lambda: AUPIMO(limits=(0.01, 1))}
GRID = torch.linspace(-3, 5, 50)
EVERY: dict[str, Callable[[], Metric]] = {
    **{kind.__name__: kind for kind in (*RANKED, F1MaxThreshold)},
    **{f"{kind.__name__} binned": lambda kind=kind: kind(thresholds=GRID) for kind in (*RANKED, F1MaxThreshold)},
    "F1": lambda: F1(0.5),
    **MAPS,
}
every = pytest.mark.parametrize("make", EVERY.values(), ids=EVERY.keys())
few = settings(max_examples=50, deadline=None)
LEVELS = st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=4, max_size=8, unique=True).map(sorted)
MARKS = st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=2, max_size=40).filter(
    lambda marks: 0 < sum(anomalous for _, anomalous in marks) < len(marks)
)


def f1_max(labels: np.ndarray, scores: np.ndarray) -> float:
    return max(sklearn.f1_score(labels, scores >= score) for score in scores)


EXPECTED = {AUROC: sklearn.roc_auc_score, AveragePrecision: sklearn.average_precision_score, F1Max: f1_max}


def images(seed: int = 0, size: int = 6) -> tuple[Tensor, Tensor]:
    """Maps of which half have a defect."""
    generator = torch.Generator().manual_seed(seed)
    masks = torch.rand(6, size, size, generator=generator) < 0.2
    masks[::2] = False
    return torch.randn(masks.shape, generator=generator) + masks, masks


def value(metric: Metric, *batches: tuple[Tensor, Tensor]) -> float:
    for batch in batches:
        metric.update(*batch)
    return float(metric.compute())


@pytest.mark.parametrize("kind", RANKED)
@few
@given(MARKS, LEVELS, st.integers(1, 40))
def test_exact_metrics_equal_scikit_learns(
    kind: type[AUROC], marks: list[tuple[int, bool]], levels: list[float], first: int
) -> None:
    scores = torch.tensor([levels[place] for place, _ in marks])
    labels = torch.tensor([anomalous for _, anomalous in marks])
    found = value(kind(), (scores[:first], labels[:first]), (scores[first:], labels[first:]))
    assert found == pytest.approx(EXPECTED[kind](labels.numpy(), scores.numpy()), abs=1e-12)


@pytest.mark.parametrize("kind", RANKED)
@few
@given(MARKS, LEVELS, st.lists(st.floats(-(2.0**100), 2.0**100), min_size=1, max_size=6, unique=True).map(sorted))
def test_bounds_of_binned_metrics_hold(
    kind: type[AUROC], marks: list[tuple[int, bool]], levels: list[float], grid: list[float]
) -> None:
    batch = torch.tensor([levels[place] for place, _ in marks]), torch.tensor([anomalous for _, anomalous in marks])
    exact, metric = value(kind(), batch), kind(thresholds=grid)
    binned, (low, high) = value(metric, batch), map(float, metric.bounds())
    assert 0 <= low <= exact + 1e-12
    assert exact <= high + 1e-12
    assert low - 1e-12 <= binned <= high + 1e-12


@pytest.mark.parametrize("kind", RANKED)
@few
@given(MARKS, LEVELS)
def test_binned_metrics_are_exact_with_a_threshold_between_all_scores(
    kind: type[AUROC], marks: list[tuple[int, bool]], levels: list[float]
) -> None:
    batch = torch.tensor([levels[place] for place, _ in marks]), torch.tensor([anomalous for _, anomalous in marks])
    assert value(kind(thresholds=levels), batch) == pytest.approx(value(kind(), batch), abs=1e-12)


@pytest.mark.parametrize("kind", RANKED)
def test_bounds_narrow_with_more_thresholds_and_are_one_value_when_exact(kind: type[AUROC]) -> None:
    batch, widths = images(), []
    for count in (3, 30, 3000):
        metric = kind(thresholds=torch.linspace(-3, 5, count))
        metric.update(*batch)
        low, high = metric.bounds()
        widths.append(float(high - low))
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] < 0.002
    exact = kind()
    exact.update(*batch)
    assert exact.bounds() == (exact.compute(), exact.compute())


def test_they_equal_torchmetrics_own_on_scores_between_0_and_1() -> None:
    scores, labels = torch.rand(300, generator=torch.Generator().manual_seed(0)), torch.arange(300) % 3 == 0
    assert value(AUROC(), (scores, labels)) == pytest.approx(value(BinaryAUROC(), (scores, labels.int())), abs=1e-6)
    average = value(BinaryAveragePrecision(), (scores, labels.int()))
    assert value(AveragePrecision(), (scores, labels)) == pytest.approx(average, abs=1e-6)
    f1 = value(BinaryF1Score(threshold=0.3), (scores, labels.int()))
    assert value(F1(0.3), (scores, labels)) == pytest.approx(f1, abs=1e-6)


def test_raw_scores_of_different_batches_are_compared_as_they_are() -> None:
    """torchmetrics' own metric takes batches outside [0, 1] for logits, and squeezes them apart from the others."""
    batches = [(torch.tensor([0.2, 0.9]), torch.tensor([0, 1])), (torch.tensor([0.1, -4.0]), torch.tensor([0, 0]))]
    batches.append((torch.tensor([900.0, 901.0]), torch.tensor([0, 1])))
    scores, labels = (torch.cat(parts).numpy() for parts in zip(*batches, strict=True))
    assert value(AUROC(), *batches) == pytest.approx(sklearn.roc_auc_score(labels, scores))
    assert value(BinaryAUROC(), *batches) != pytest.approx(sklearn.roc_auc_score(labels, scores))


@pytest.mark.parametrize("thresholds", [None, GRID])
def test_the_threshold_of_the_best_f1_reaches_it(thresholds: Tensor | None) -> None:
    batch = images()
    threshold = value(F1MaxThreshold(thresholds=thresholds), batch)
    assert value(F1(threshold), batch) == pytest.approx(value(F1Max(thresholds=thresholds), batch), abs=1e-12)


def test_the_threshold_is_minus_infinity_if_all_should_be_called_anomalous() -> None:
    metric = F1MaxThreshold(thresholds=[0.5])
    assert value(metric, (torch.tensor([0.1, 0.2, 0.9]), torch.tensor([1, 1, 0]))) == -np.inf


@every
def test_one_class_alone_is_nan_with_a_warning(make: Callable[[], Metric]) -> None:
    scores, masks = images()
    for truth in (torch.zeros_like(masks), torch.ones_like(masks)):
        with pytest.warns(UserWarning, match="nan: it needs both"):
            assert np.isnan(value(make(), (scores, truth)))


@every
def test_reset_forgets(make: Callable[[], Metric]) -> None:
    metric, batch = make(), images(1)
    value(metric, images(0))
    metric.reset()
    assert value(metric, batch) == value(make(), batch)


@every
def test_two_ranks_together_equal_one_process(make: Callable[[], Metric]) -> None:
    """What torchmetrics does to combine two states, as in ``forward`` and ``merge_state``."""
    first, second, both = make(), make(), make()
    first.update(*images(0))
    second.update(*images(1))
    first.merge_state(second)
    assert float(first.compute()) == pytest.approx(value(both, images(0), images(1)), abs=1e-12)


@every
def test_forward_gives_the_batchs_value_and_keeps_all(make: Callable[[], Metric]) -> None:
    metric = make()
    assert float(metric(*images(0))) == value(make(), images(0))
    assert float(metric(*images(1))) == value(make(), images(1))
    assert float(metric.compute()) == pytest.approx(value(make(), images(0), images(1)), abs=1e-12)


@every
def test_empty_batches_and_half_precision(make: Callable[[], Metric]) -> None:
    scores, masks = images()
    empty = scores[:0], masks[:0]
    half = scores.bfloat16(), masks
    assert value(make(), empty, half) == value(make(), (half[0].float(), masks))


def test_collections_do_not_join_metrics_of_different_thresholds() -> None:
    collection = MetricCollection({"low": F1(0.5), "high": F1(0.6), "a": AUROC([0.0]), "b": AUROC([0.1])})
    first, second = (
        (torch.tensor([-9.0, 9.0]), torch.tensor([0, 1])),
        (torch.tensor([0.05, 0.55]), torch.tensor([0, 1])),
    )
    collection.update(*first)
    collection.update(*second)
    found = collection.compute()
    assert found["low"] == 1
    assert found["high"] == pytest.approx(2 / 3)
    assert found["a"] == 0.75
    assert found["b"] == 1


def test_binned_states_do_not_grow() -> None:
    metric = AUPRO(thresholds=GRID)
    for seed in range(3):
        metric.update(*images(seed))
        assert sum(state.numel() for state in metric.metric_state.values()) == 50 + 3 * 51


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_dtype_decides_what_ties(dtype: torch.dtype) -> None:
    metric = AUROC().set_dtype(dtype)
    scores = torch.tensor([1.0, 1.0 + 1e-12], dtype=torch.float64)
    assert value(metric, (scores, torch.tensor([0, 1]))) == (1 if dtype == torch.float64 else 0.5)


@pytest.mark.parametrize("make", [lambda: F1(0.5), lambda: AUROC(GRID), lambda: AUPRO(thresholds=GRID)])
def test_counts_stay_integers(make: Callable[[], Metric]) -> None:
    metric = make().set_dtype(torch.float32)
    assert value(metric, images()) == value(make(), images())
    assert torch.int64 in {state.dtype for state in metric.metric_state.values()}


@every
def test_types_that_hold_no_sizes_are_ignored(make: Callable[[], Metric]) -> None:
    batch = images(size=20)
    assert value(make().set_dtype(torch.bfloat16), batch) == value(make(), batch)


@every
def test_copies_go_on_by_themselves(make: Callable[[], Metric]) -> None:
    metric = make()
    value(metric, images(0))
    copy = pickle.loads(pickle.dumps(metric))  # noqa: S301 (our own)
    assert value(copy, images(1)) == pytest.approx(value(make(), images(0), images(1)), abs=1e-12)
    assert value(metric) == value(make(), images(0))


@pytest.mark.parametrize(
    ("preds", "target", "message"),
    [
        (torch.zeros(2), torch.zeros(3), r"shape \(2,\) and `target` of shape \(3,\)"),
        (torch.tensor([0.0, torch.nan]), torch.zeros(2), "1 of 2 scores"),
        (torch.zeros(2), torch.tensor([0, 2]), "`target` must be 0"),
        (torch.zeros(2, dtype=torch.int64), torch.zeros(2), "floating-point"),
    ],
)
@every
def test_bad_batches_are_refused(make: Callable[[], Metric], preds: Tensor, target: Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make().update(preds, target)


@pytest.mark.parametrize("make", MAPS.values(), ids=MAPS.keys())
def test_maps_have_height_and_width(make: Callable[[], Metric]) -> None:
    with pytest.raises(InputError, match="must be maps of shape"):
        make().update(torch.zeros(4), torch.zeros(4))


@pytest.mark.parametrize("thresholds", [[], [1.0, 1.0], [2.0, 1.0], [0.0, np.inf], [[0.0]]])
def test_thresholds_ascend(thresholds: list[float]) -> None:
    with pytest.raises(InputError, match="`thresholds` must be finite numbers in ascending order"):
        AUROC(thresholds)


def test_bad_limits_are_refused() -> None:
    for make in (lambda: AUPRO(0), lambda: AUPRO(1.1)):
        with pytest.raises(InputError, match="`limit` cannot be"):
            make()
    for limits in ((0, 1), (0.2, 0.1), (0.1, 2)):
        with pytest.raises(InputError, match="`limits` cannot be"):
            AUPIMO(limits)
