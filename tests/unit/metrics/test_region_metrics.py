"""AUPRO and AUPIMO against slow implementations from their definitions, with regions from SciPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, ndimage

from anomalib_flows.metrics import AUPIMO, AUPRO
from anomalib_flows.results.metrics.aupimo import aupimo

Images = tuple[np.ndarray, np.ndarray]
few = settings(max_examples=40, deadline=None)
CASES = st.tuples(st.integers(0, 10**6), st.sampled_from([1, 3, 1000]), st.integers(4, 9))
LIMITS = st.sampled_from([0.01, 0.05, 0.3, 1.0])


def drawn(seed: int, levels: int, size: int) -> Images:
    """Maps (4, H, W) with ties if there are few levels; at least one image is normal, and one is not."""
    rng = np.random.default_rng(seed)
    masks = rng.random((4, size, size + 1)) < rng.choice([0.02, 0.2, 0.5])
    masks[0], masks[1, 0, 0] = False, True
    return np.round((rng.standard_normal(masks.shape) + masks) * levels).astype(np.float32), masks


def updated(metric, images: Images):
    scores, masks = map(torch.from_numpy, images)
    metric.update(scores[:1, None], masks[:1, None])
    metric.update(scores[1:], masks[1:])
    return metric


def slow_aupro(images: Images, limit: float) -> float:
    scores, masks = images
    regions = []
    for image, mask in zip(*images, strict=True):
        labels, count = ndimage.label(mask, np.ones((3, 3)))
        regions += [image[labels == i + 1] for i in range(count)]
    thresholds = np.unique(scores)[::-1]
    rates = np.array([0, *((scores[~masks] >= t).mean() for t in thresholds)])
    overlaps = np.array([0, *(np.mean([(region >= t).mean() for region in regions]) for t in thresholds)])
    inner = rates < limit
    x = np.append(rates[inner], limit)
    after = int(inner.sum())
    rise = (overlaps[after] - overlaps[after - 1]) / (rates[after] - rates[after - 1])
    y = np.append(overlaps[inner], overlaps[after - 1] + rise * (limit - rates[after - 1]))
    return float(integrate.trapezoid(y, x)) / limit


@few
@given(CASES, LIMITS)
def test_exact_aupro_equals_its_definition(case: tuple[int, int, int], limit: float) -> None:
    images = drawn(*case)
    assert float(updated(AUPRO(limit), images).compute()) == pytest.approx(slow_aupro(images, limit), abs=1e-12)


@few
@given(CASES, LIMITS, st.integers(1, 30))
def test_bounds_of_binned_aupro_hold(case: tuple[int, int, int], limit: float, count: int) -> None:
    images = drawn(*case)
    exact = float(updated(AUPRO(limit), images).compute())
    metric = updated(AUPRO(limit, thresholds=torch.linspace(-case[1], 2 * case[1], count)), images)
    low, high = map(float, metric.bounds())
    assert 0 <= low <= exact + 1e-12
    assert exact <= high + 1e-12
    assert low - 1e-12 <= float(metric.compute()) <= high + 1e-12


@few
@given(CASES, LIMITS)
def test_binned_aupro_is_exact_with_a_threshold_between_all_scores(case: tuple[int, int, int], limit: float) -> None:
    images = drawn(*case)
    binned = updated(AUPRO(limit, thresholds=np.unique(images[0])), images)
    assert float(binned.compute()) == pytest.approx(slow_aupro(images, limit), abs=1e-12)


def slow_aupimo(normal: list[np.ndarray], anomalous: list[np.ndarray], low: float, high: float) -> list[float]:
    """The definition: curves at all thresholds, joined by straight lines over the rate, integrated over its logarithm.

    The integral of ``y0 + m (F - x0)`` over dF / F is taken piece by piece.
    """
    thresholds = np.unique(np.concatenate([*normal, *anomalous]))[::-1]
    rates = np.array([0.0, *(np.mean([(image >= t).mean() for image in normal]) for t in thresholds)])
    areas = []
    for defects in anomalous:
        overlaps = np.array([0.0, *((defects >= t).mean() for t in thresholds)])
        area = 0.0
        for x0, x1, y0, y1 in zip(rates[:-1], rates[1:], overlaps[:-1], overlaps[1:], strict=True):
            start, end = max(x0, low), min(x1, high)
            if start < end:
                slope = (y1 - y0) / (x1 - x0)
                area += (y0 - slope * x0) * np.log(end / start) + slope * (end - start)
        areas.append(area / np.log(high / low))
    return areas


@few
@given(CASES, st.sampled_from([(1e-5, 1e-4), (0.01, 0.1), (0.03, 0.5), (0.2, 1.0)]))
def test_aupimo_equals_its_definition(case: tuple[int, int, int], limits: tuple[float, float]) -> None:
    scores, masks = images = drawn(*case)
    defective = masks.any((1, 2))
    normal = [image.ravel() for image in scores[~defective]]
    anomalous = [image[mask] for image, mask in zip(scores[defective], masks[defective], strict=True)]
    expected = slow_aupimo(normal, anomalous, *limits)
    metric = updated(AUPIMO(limits, average=False), images)
    np.testing.assert_allclose(metric.compute().numpy(), expected, atol=1e-9)
    assert float(updated(AUPIMO(limits), images).compute()) == pytest.approx(np.mean(expected), abs=1e-9)


@few
@given(st.integers(0, 10**6), st.sampled_from([1, 3, 1000]))
def test_normal_images_of_different_sizes_count_alike(seed: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    normal = [np.round(rng.standard_normal(size) * levels) for size in (7, 40, 300)]
    anomalous = [np.round(rng.standard_normal(size) * levels) + levels for size in (1, 9)]
    for limits in ((0.002, 0.02), (0.05, 0.9)):
        np.testing.assert_allclose(
            aupimo(normal, anomalous, limits), slow_aupimo(normal, anomalous, *limits), atol=1e-9
        )


def test_known_values_of_aupimo() -> None:
    normal = [np.arange(1000.0)]
    assert aupimo(normal, [np.array([1e4]), np.array([-1.0]), np.array([1e4, -1.0])], (0.01, 0.1)).tolist() == [
        1,
        0,
        0.5,
    ]
    halfway = np.array([1000 - 10**1.5])  # where the rate is the geometric mean of 0.01 and 0.1
    assert aupimo(normal, [halfway], (0.01, 0.1)) == pytest.approx([0.5], abs=0.02)


def test_sizes_beyond_those_that_float32_holds() -> None:
    metric, size = AUPIMO((1e-5, 1e-4)), 2**24 + 1
    for score in (0.0, 2.0):
        metric.update(torch.full((1, 1, size), score), torch.zeros(1, 1, 1, dtype=torch.bool).expand(1, 1, size))
    assert [len(image) for image in metric._images("normal")] == [size, size]


def test_normal_pixels_of_anomalous_images_do_not_change_aupimo() -> None:
    scores, masks = drawn(0, 1000, 8)
    other = scores.copy()
    other[masks.any((1, 2))[:, None, None] & ~masks] += 1e6
    limits = (0.01, 0.5)
    assert updated(AUPIMO(limits), (scores, masks)).compute() == updated(AUPIMO(limits), (other, masks)).compute()
