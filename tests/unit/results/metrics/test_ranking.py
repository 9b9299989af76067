"""AUROC, average precision and F1 against scikit-learn, and what must not change them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn

from anomalib_flows.results.metrics.ranking import Ranking, Scores


def rank(scores: Scores, labels: np.ndarray) -> Ranking:
    return Ranking(scores[labels == 1], [np.sort(scores[labels == 0])])


def figures(ranking: Ranking) -> list[float]:
    return [ranking.auroc(), ranking.average_precision(), ranking.f1_max()[0], ranking.aupro(0.3)]


def continuous(rng: np.random.Generator, labels: np.ndarray) -> Scores:
    return 1e3 * (rng.standard_normal(labels.size) + labels)


def tied(rng: np.random.Generator, labels: np.ndarray) -> Scores:
    return rng.integers(-3, 2, labels.size) + labels.astype(np.float64)


def equal(rng: np.random.Generator, labels: np.ndarray) -> Scores:
    return np.full(labels.size, -7.0)


def separated(rng: np.random.Generator, labels: np.ndarray) -> Scores:
    return rng.random(labels.size) + 2 * labels


def reversed_(rng: np.random.Generator, labels: np.ndarray) -> Scores:
    return rng.random(labels.size) - 2 * labels


@pytest.fixture(params=[continuous, tied, equal, separated, reversed_])
def case(request: pytest.FixtureRequest, dtype: type, share: float) -> tuple[Scores, np.ndarray]:
    make: Callable[[np.random.Generator, np.ndarray], Scores] = request.param
    rng = np.random.default_rng(0)
    labels = (rng.random(500) < share).astype(int)
    return make(rng, labels).astype(dtype), labels


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("share", [0.02, 0.7])
class TestAgainstScikitLearn:
    def test_auroc(self, case: tuple[Scores, np.ndarray]) -> None:
        scores, labels = case
        assert rank(scores, labels).auroc() == pytest.approx(sklearn.roc_auc_score(labels, scores), abs=1e-12)

    def test_average_precision(self, case: tuple[Scores, np.ndarray]) -> None:
        scores, labels = case
        expected = sklearn.average_precision_score(labels, scores)
        assert rank(scores, labels).average_precision() == pytest.approx(expected, abs=1e-12)

    def test_f1_max(self, case: tuple[Scores, np.ndarray]) -> None:
        scores, labels = case
        precision, recall, _ = sklearn.precision_recall_curve(labels, scores)
        f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-300)
        assert rank(scores, labels).f1_max()[0] == pytest.approx(f1.max(), abs=1e-12)

    def test_f1_max_is_reached_at_its_threshold(self, case: tuple[Scores, np.ndarray]) -> None:
        scores, labels = case
        f1, threshold = rank(scores, labels).f1_max()
        assert sklearn.f1_score(labels, scores > threshold) == pytest.approx(f1, abs=1e-12)
        assert rank(scores, labels).f1(threshold) == f1

    def test_f1_at_a_threshold(self, case: tuple[Scores, np.ndarray]) -> None:
        scores, labels = case
        for threshold in map(float, [*np.quantile(scores, [0, 0.3, 0.9, 1]), scores[0]]):
            expected = sklearn.f1_score(labels, scores > threshold)
            assert rank(scores, labels).f1(threshold) == pytest.approx(expected, abs=1e-12)

    def test_partial_area_with_max_fpr(self, case: tuple[Scores, np.ndarray]) -> None:
        """Without weights AUPRO is the partial AUROC, which scikit-learn gives after McClish's rescaling."""
        scores, labels = case
        rescaled = sklearn.roc_auc_score(labels, scores, max_fpr=0.3)
        low, high = 0.3**2 / 2, 0.3
        area = (2 * rescaled - 1) * (high - low) + low
        assert rank(scores, labels).aupro(0.3) == pytest.approx(area / 0.3, abs=1e-12)


few = settings(max_examples=40, deadline=None)
LEVELS = st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=4, max_size=8, unique=True).map(sorted)
MARKS = st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=2, max_size=40).filter(
    lambda marks: 0 < sum(anomalous for _, anomalous in marks) < len(marks)
)


@few
@given(MARKS, LEVELS, LEVELS)
def test_only_the_order_of_scores_matters(
    marks: list[tuple[int, bool]], before: list[float], after: list[float]
) -> None:
    labels = np.array([anomalous for _, anomalous in marks])
    old, new = (np.array([levels[place] for place, _ in marks]) for levels in (before, after))
    assert figures(rank(old, labels)) == figures(rank(new, labels))
    assert figures(rank(old, labels)) == figures(rank(new.astype(np.float32), labels))


@few
@given(MARKS, LEVELS, st.randoms())
def test_the_order_of_images_does_not_matter(marks: list[tuple[int, bool]], levels: list[float], random) -> None:
    def of(marks: list[tuple[int, bool]]) -> list[float]:
        return figures(rank(np.array([levels[place] for place, _ in marks]), np.array([y for _, y in marks])))

    assert of(random.sample(marks, len(marks))) == pytest.approx(of(marks), abs=1e-12)


@few
@given(MARKS, LEVELS)
def test_figures_lie_between_0_and_1_and_auroc_turns_round(marks: list[tuple[int, bool]], levels: list[float]) -> None:
    labels = np.array([anomalous for _, anomalous in marks])
    scores = np.array([levels[place] for place, _ in marks])
    assert all(0 <= figure <= 1 for figure in figures(rank(scores, labels)))
    assert rank(-scores, labels).auroc() == pytest.approx(1 - rank(scores, labels).auroc(), abs=1e-12)


@few
@given(MARKS, LEVELS, st.integers(1, 4))
def test_normal_scores_may_come_in_parts(marks: list[tuple[int, bool]], levels: list[float], parts: int) -> None:
    labels = np.array([anomalous for _, anomalous in marks])
    scores = np.array([levels[place] for place, _ in marks])
    normals = [np.sort(part) for part in np.array_split(scores[labels == 0], parts)]  # some may be empty
    assert figures(Ranking(scores[labels == 1], normals)) == figures(rank(scores, labels))


def test_scores_that_differ_in_the_last_digit_are_no_ties() -> None:
    normal, anomalous = np.array([100.0]), np.nextafter(np.array([100.0]), np.inf)
    assert Ranking(anomalous, [normal]).auroc() == 1
    assert Ranking(normal, [anomalous]).auroc() == 0
    assert Ranking(anomalous.astype(np.float32), [normal.astype(np.float32)]).auroc() == 0.5
