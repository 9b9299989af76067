"""AUPIMO among the metrics of a test, against the paper's definition at many false positive rates."""

from __future__ import annotations

import numpy as np
import pytest

from anomalib_flows.results.metrics.evaluate import evaluate

KINDS = ["good", "crack", "good", "dent", "crack", "scratch", "empty"]


def drawn(size: int) -> tuple[list[np.ndarray], list[np.ndarray | None]]:
    """Maps of normal and defective images; one of the latter has no mask, and one has an empty mask."""
    rng = np.random.default_rng(0)
    maps = [rng.standard_normal((size, size)).astype(np.float32) for _ in KINDS]
    masks: list[np.ndarray | None] = [np.zeros((size, size), dtype=bool) for _ in KINDS]
    for i, kind in enumerate(KINDS):
        if kind in ("crack", "dent"):
            masks[i][3 : 20 + 5 * i, 5:40] = True
            maps[i][masks[i]] += 3
    masks[KINDS.index("scratch")] = None
    return maps, masks


def evaluated(maps: list[np.ndarray], masks: list[np.ndarray | None], kinds: list[str] = KINDS) -> dict:
    labels = [int(kind != "good") for kind in kinds]
    return evaluate([0.0] * len(kinds), labels, 0.5, maps, masks, kinds, 1.0)


def slow_aupimo(maps: list[np.ndarray], masks: list[np.ndarray | None]) -> dict[int, float]:
    """Mean detected share of an image's defective pixels, at 3001 rates that are even in the logarithm."""
    normal = np.concatenate([maps[i].ravel() for i, kind in enumerate(KINDS) if kind == "good"])
    rates = np.logspace(-5, -4, 3001)
    thresholds = np.quantile(normal.astype(np.float64), 1 - rates)
    masked = [i for i, mask in enumerate(masks) if mask is not None and mask.any()]
    return {i: float(np.mean([(maps[i][masks[i]] >= t).mean() for t in thresholds])) for i in masked}


def test_it_is_the_mean_over_images_also_of_each_kind() -> None:
    maps, masks = drawn(700)
    metrics, expected = evaluated(maps, masks), slow_aupimo(maps, masks)
    assert list(expected) == [1, 3, 4]
    assert 0.1 < min(expected.values()) < max(expected.values()) < 0.9
    of = {kind: part["pixel"]["aupimo"] for kind, part in metrics["defects"].items()}
    assert metrics["pixel"]["aupimo"] == pytest.approx(np.mean(list(expected.values())), abs=0.01)
    assert of["crack"] == pytest.approx((expected[1] + expected[4]) / 2, abs=0.01)
    assert of["dent"] == pytest.approx(expected[3], abs=0.01)
    assert of["scratch"] is of["empty"] is None


def test_it_takes_a_normal_pixel_at_the_lowest_rate() -> None:
    maps, masks = drawn(320)  # two good images of 102,400 pixels
    assert evaluated(maps, masks)["pixel"]["aupimo"] is not None
    assert evaluated(maps[1:], masks[1:], KINDS[1:])["pixel"]["aupimo"] is not None
    few = [KINDS[1], *KINDS[3:]]
    assert evaluated([maps[1], *maps[3:]], [masks[1], *masks[3:]], few)["pixel"]["aupimo"] is None
    maps, masks = drawn(200)  # 80,000 pixels
    assert evaluated(maps, masks)["pixel"]["aupimo"] is None
