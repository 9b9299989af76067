"""Curves are those of scikit-learn and of a plain PRO, and no point of theirs is far from the thinned ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from sklearn.metrics import auc, precision_recall_curve, roc_curve

from anomalib_flows.results.metrics import curves as module
from anomalib_flows.results.metrics.curves import curves_of
from anomalib_flows.results.metrics.evaluate import evaluate
from anomalib_flows.results.metrics.ranking import Ranking, image_group, pixel_group, rank

seeds = st.integers(0, 2**32 - 1)


def data(seed: int, normal: int, anomalous: int, decimals: int, shift: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Scores and labels of images; with few decimals many scores tie."""
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1], [normal, anomalous])
    return (rng.standard_normal(labels.size) + shift * labels).round(decimals), labels


def ranking_of(scores: np.ndarray, labels: np.ndarray) -> Ranking:
    groups = [image_group(scores[labels == label], anomalous=label == 1) for label in (0, 1)]
    return rank(groups[0], groups[1:])


def away(points: np.ndarray, curve: np.ndarray) -> float:
    """Largest distance of points (K, 2) from a curve, by brute force over its pieces."""
    start, along = curve[:-1], np.diff(curve, axis=0)
    offset = points[:, None] - start
    share = ((offset * along).sum(-1) / np.maximum((along**2).sum(-1), 1e-30)).clip(0, 1)
    return float(np.linalg.norm(offset - share[..., None] * along, axis=-1).min(1).max())


def expected_pro(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """PRO at each threshold, one after the other."""
    regions = []
    for i, mask in enumerate(masks):
        labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
        regions += [(i, labels == number + 1) for number in range(count)]
    points = [[0.0, 0.0]]
    for threshold in np.unique(maps)[::-1]:
        detected = maps >= threshold
        points.append([detected[~masks].mean(), np.mean([detected[i][region].mean() for i, region in regions])])
    return np.array(points)


@given(seeds, st.integers(1, 60), st.integers(1, 60), st.integers(0, 6))
@settings(deadline=None)
def test_few_images_have_the_curves_of_scikit_learn(seed: int, normal: int, anomalous: int, decimals: int) -> None:
    scores, labels = data(seed, normal, anomalous, decimals)
    curves = {name: np.array(points) for name, points in curves_of(ranking_of(scores, labels)).items()}
    fpr, recall, _ = roc_curve(labels, scores, drop_intermediate=False)
    precisions, recalls, _ = precision_recall_curve(labels, scores)
    for name, full in {
        "roc": np.stack([fpr, recall], 1),
        "precision_recall": np.stack([recalls, precisions], 1)[::-1],
    }.items():
        assert away(full, curves[name]) < 2e-6, name  # curves are rounded to six digits
        assert away(curves[name], full) < 2e-6, name
        np.testing.assert_allclose(curves[name][[0, -1]], full[[0, -1]], atol=1e-6)


@given(seeds, st.integers(0, 6))
@settings(deadline=None, max_examples=30)
def test_the_pro_curve_is_a_plain_one(seed: int, decimals: int) -> None:
    rng = np.random.default_rng(seed)
    masks = rng.random((3, 7, 9)) < 0.2
    maps = (rng.standard_normal(masks.shape) + masks).round(decimals)
    group = pixel_group(list(zip(maps, masks, strict=True)))
    found, full = np.array(curves_of(rank(pixel_group([]), [group]), pixels=True)["pro"]), expected_pro(maps, masks)
    assert away(full, found) < 2e-6
    assert away(found, full) < 2e-6


@pytest.mark.parametrize("shift", [0, 0.5, 1, 2, 4])
@pytest.mark.parametrize(("normal", "anomalous"), [(400, 172), (100, 100), (2000, 3000), (30, 20_000), (100_000, 1000)])
def test_thinned_curves_stay_near_the_full_ones(normal: int, anomalous: int, shift: float) -> None:
    scores, labels = data(0, normal, anomalous, 6, shift)
    ranking = ranking_of(scores, labels)
    curves = {name: np.array(points) for name, points in curves_of(ranking, pixels=True).items()}
    assert all(2 <= len(curve) <= module.POINTS for curve in curves.values())
    full = {"roc": module.corners(ranking, None), "precision_recall": module.precision_recall_corners(ranking)}
    for name, corners in full.items():
        some = corners[:: max(1, len(corners) // 5000)]
        assert away(some, curves[name]) <= module.TOLERANCE, name
    assert curves["roc"].tolist() == curves["pro"].tolist()  # with a region to each score
    assert (np.diff(curves["roc"], axis=0) >= 0).all()
    assert auc(*curves["roc"].T) == pytest.approx(ranking.auroc(), abs=0.002)


def test_a_staircase_of_many_steps_is_thinned() -> None:
    """The worst case: images of both kinds by turns, which no chord of a third of the length would follow."""
    ranking = Ranking(np.arange(0, 400, 2.0), [np.arange(1, 401, 2.0)])
    found, full = np.array(curves_of(ranking)["roc"]), module.corners(ranking, None)
    assert len(full) > module.POINTS >= len(found)
    assert away(full, found) < module.TOLERANCE


def test_curves_that_are_undefined_are_none() -> None:
    nothing = {"roc": None, "precision_recall": None}
    assert curves_of(None) == nothing
    maps, masks = [np.zeros((2, 2))] * 2, [None, None]
    found = evaluate([0.0, 1.0], [0, 1], 0.5, maps, masks, ["good", "dent"], 0.5)["curves"]
    assert found["image"] == {
        "roc": [[0, 0], [0, 1], [1, 1]],
        "precision_recall": [[0, 1], [1, 1], [1, 0.5]],
    }
    assert found["pixel"] == nothing | {"pro": None}
