"""Exported models are compared with the trained one, image by image."""

from __future__ import annotations

import gc
import time
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torch import Tensor

from anomalib_flows.core.types import ImageResult, Sample
from anomalib_flows.export.parity import BOUNDS, Array, compare, summarise
from anomalib_flows.export.predictors import PredictImage

COUNT = 6


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    """Grey images, of which every second one is anomalous."""
    for i in range(COUNT):
        Image.new("RGB", (8, 6), (40 * i,) * 3).save(tmp_path / f"{i}.png")
    return [Sample(tmp_path / f"{i}.png", "test", i % 2) for i in range(COUNT)]


def predict(image: Tensor) -> ImageResult:
    """Call brighter images, and the right half of each, more anomalous."""
    score = float(image.float().mean() / 255)
    anomaly_map = np.full((4, 4), score, np.float32)
    anomaly_map[:, 2:] += 0.2
    return ImageResult(
        score=score,
        label=int(score > 0.5),
        p_value=1.0,
        raw_score=2 * score,
        anomaly_map=anomaly_map,
        mask=anomaly_map > 0.5,
    )


def changed(**changes: Callable[[Any], Any]) -> PredictImage:
    """Predict with some fields changed."""

    def predict_otherwise(image: Tensor) -> ImageResult:
        found = predict(image)
        return replace(found, **{name: change(getattr(found, name)) for name, change in changes.items()})

    return predict_otherwise


def report(samples: list[Sample], **changes: Callable[[Any], Any]) -> dict:
    return summarise(compare(predict, {"f32": changed(**changes)}, samples)["f32"], samples, BOUNDS["fp32"])


def test_equal_models(samples: list[Sample]) -> None:
    found = report(samples)
    assert found["within"]
    assert found["bounds"] == {"score": 1e-4, "map": 1e-4}
    assert found["mask"] == {"equal_pixels": 1, "equal_images": 1}
    assert (found["labels_agree"], found["flipped"]) == (COUNT, [])
    assert found["image_auroc"]["trained"] == found["image_auroc"]["exported"] == pytest.approx(2 / 3)


def flipped_pixel(masks: Array) -> Array:
    masks[0, 0] ^= True
    return masks


@pytest.mark.parametrize(
    ("output", "change", "fault"),
    [
        ("score", lambda score: score + 2e-4, "scores differ by 0.0002 (at most 0.0001 is allowed)"),
        (
            "label",
            lambda label: 1 - label,
            "labels differ where the distance of scores from the threshold is 0.5 (at most",
        ),
        ("anomaly_map", lambda maps: maps + np.float32(2e-4), "maps differ by 0.0002 (at most 0.0001 is allowed)"),
        ("anomaly_map", lambda maps: maps * np.nan, "maps differ by nan (at most 0.0001 is allowed)"),
        ("mask", flipped_pixel, "masks differ where the distance of maps from the threshold is 0.5 (at most 0.0001"),
    ],
)
def test_differences_beyond_bounds(
    output: str, change: Callable[[Any], Any], fault: str, samples: list[Sample]
) -> None:
    found = report(samples, **{output: change})
    assert not found["within"]
    assert [said.startswith(fault) for said in found["exceeded"]] == [True]


def test_images_are_ranked_by_scores_of_one_kind(samples: list[Sample]) -> None:
    """Normalised scores end at 1; if the exported model returns no others, both are ranked by them."""

    clipped = changed(score=lambda score: min(score, 0.3))
    without_raw = changed(score=lambda score: min(score, 0.3), raw_score=lambda _: None)
    for exported in (clipped, without_raw):
        found = summarise(compare(clipped, {"f32": exported}, samples)["f32"], samples, None)["image_auroc"]
        assert found["trained"] == found["exported"]
    assert found["exported"] < 2 / 3


def test_a_batch_shares_its_duration(samples: list[Sample]) -> None:
    def slow(image: Tensor) -> ImageResult:
        time.sleep(0.02)
        return predict(image)

    compared = compare(slow, {"f32": slow}, samples, batch=20)["f32"]
    assert summarise(compared, samples, None)["milliseconds"]["exported"] < 10


def test_differences_within_bounds(samples: list[Sample]) -> None:
    closer = {"score": lambda score: score + 9e-5, "anomaly_map": lambda maps: maps - np.float32(9e-5)}
    assert report(samples, **closer)["within"]


def test_shares_of_masks(samples: list[Sample]) -> None:
    found = report(samples, mask=lambda masks: flipped_pixel(masks) if masks.all() else masks)
    assert found["mask"] == {
        "equal_pixels": pytest.approx(1 - 2 / COUNT / 16),
        "equal_images": pytest.approx(4 / COUNT),
    }


def test_maps_are_not_kept(samples: list[Sample]) -> None:
    alive: list[weakref.ref] = []
    most = 0

    def watched(image: Tensor) -> ImageResult:
        nonlocal most
        gc.collect()
        most = max(most, sum(kept() is not None for kept in alive))
        found = predict(image)
        alive.append(weakref.ref(found.anomaly_map))
        return found

    compare(watched, {"f32": watched, "bf16": watched}, samples)
    assert len(alive) == 3 * (COUNT + 1)  # each once more before the measurement
    assert most <= 3
