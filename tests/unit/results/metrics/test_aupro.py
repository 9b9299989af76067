"""AUPRO against its definition: every threshold in a loop, every region found by walking over the pixels."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from anomalib_flows.results.metrics.ranking import pixel_group, rank, region_weights

Image = tuple[np.ndarray, np.ndarray]


def regions_of(mask: np.ndarray) -> list[set[tuple[int, int]]]:
    """Connected regions, neighbours being the 8 pixels around one."""
    left = set(zip(*map(np.ndarray.tolist, mask.nonzero()), strict=True))
    regions = []
    while left:
        region, border = set(), [left.pop()]
        while border:
            y, x = border.pop()
            region.add((y, x))
            around = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= around
            border += around
        regions.append(region)
    return regions


def slow_aupro(images: list[Image], limit: float) -> float:
    regions = [[scores[pixel] for pixel in region] for scores, mask in images for region in regions_of(mask)]
    normal = np.concatenate([scores[~mask] for scores, mask in images])
    curve = [(0.0, 0.0)]
    for threshold in sorted({score for scores, _ in images for score in scores.ravel()}, reverse=True):
        overlaps = [np.mean([score >= threshold for score in region]) for region in regions]
        curve.append((float(np.mean(normal >= threshold)), float(np.mean(overlaps))))
    area = 0.0
    for (x0, y0), (x1, y1) in pairwise(curve):
        if x0 < limit and x0 < x1:
            end = min(x1, limit)
            at_end = y0 + (y1 - y0) * (end - x0) / (x1 - x0)
            area += (end - x0) * (y0 + at_end) / 2
    return area / limit


def aupro(images: list[Image], limit: float = 0.3) -> float:
    ranking = rank(pixel_group([]), [pixel_group(images)])
    assert ranking is not None
    return ranking.aupro(limit)


def random_images(seed: int, levels: int | None, dtype: type) -> list[Image]:
    rng = np.random.default_rng(seed)
    images = []
    for height, width, share in ((6, 7, 0.3), (5, 9, 0.0), (8, 4, 0.15), (3, 3, 0.5)):
        mask = rng.random((height, width)) < share
        scores = rng.standard_normal((height, width)) + mask
        images.append(((scores if levels is None else np.round(scores * levels)).astype(dtype), mask))
    return images


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("levels", [None, 3, 1, 0], ids=["no ties", "some ties", "many ties", "all tied"])
@pytest.mark.parametrize("limit", [0.01, 0.05, 0.3, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_equals_the_definition(seed: int, limit: float, levels: int | None, dtype: type) -> None:
    images = random_images(seed, levels, dtype)
    assert aupro(images, limit) == pytest.approx(slow_aupro(images, limit), abs=1e-12)


def test_kinds_of_image_together_equal_all_images() -> None:
    images = random_images(0, 2, np.float64)
    parts = rank(pixel_group(images[1:2]), [pixel_group(images[:1]), pixel_group(images[2:])])
    assert parts is not None
    assert parts.aupro() == pytest.approx(aupro(images), abs=1e-12)


def test_known_values() -> None:
    mask = np.zeros((10, 10), dtype=bool)
    mask[4:6, 4:6] = True
    assert aupro([(mask.astype(float), mask)]) == 1
    assert aupro([(-mask.astype(float), mask)]) == 0
    assert aupro([(np.zeros((10, 10)), mask)]) == pytest.approx(0.15)  # the diagonal, up to 0.3


def test_a_small_region_counts_as_much_as_a_large_one() -> None:
    mask = np.zeros((20, 20), dtype=bool)
    mask[:10, :10] = mask[15, 15] = True
    found = np.zeros((20, 20))
    found[:10, :10] = 1
    found[~mask] = np.linspace(0.1, 0.9, (~mask).sum())
    assert aupro([(found, mask)]) == pytest.approx(0.5)


def test_pixels_that_touch_at_a_corner_are_one_region() -> None:
    diagonal = np.eye(4, dtype=bool)
    assert region_weights(diagonal).tolist() == [0.25] * 4
    assert region_weights(diagonal[:, ::-1]).tolist() == [0.25] * 4


@pytest.mark.parametrize("seed", range(5))
def test_weights_are_one_over_the_area_of_the_region(seed: int) -> None:
    mask = np.random.default_rng(seed).random((12, 9)) < 0.25
    area = {pixel: len(region) for region in regions_of(mask) for pixel in region}
    pixels = zip(*map(np.ndarray.tolist, mask.nonzero()), strict=True)
    assert region_weights(mask).tolist() == [1 / area[pixel] for pixel in pixels]


def test_no_region_has_no_weights() -> None:
    assert region_weights(np.zeros((3, 4), dtype=bool)).size == 0
