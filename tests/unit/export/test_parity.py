"""How exported models compare with the trained one, image by image."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch import Tensor

from anomalib_flows.core.types import Sample
from anomalib_flows.export.parity import BOUNDS, Array, compare, summarise

COUNT = 6


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    """Grey images, of which every second one is anomalous."""
    for i in range(COUNT):
        Image.new("RGB", (8, 6), (40 * i,) * 3).save(tmp_path / f"{i}.png")
    return [Sample(tmp_path / f"{i}.png", "test", i % 2) for i in range(COUNT)]


def answer(image: Tensor) -> dict[str, Array]:
    """Call brighter images, and the brighter half of each, more anomalous."""
    score = image.float().mean().numpy() / 255
    maps = np.full((1, 1, 4, 4), score, np.float32)
    maps[..., 2:] += 0.2
    return {
        "pred_score": score[None],
        "pred_label": (score > 0.5)[None].astype(np.int32),
        "anomaly_map": maps,
        "pred_mask": (maps > 0.5).astype(np.uint8),
        "raw_score": 2 * score[None],
    }


def changed(**changes: Callable[[Array], Array]) -> Callable[[Tensor], dict[str, Array]]:
    """Answer with some outputs changed."""

    def judge(image: Tensor) -> dict[str, Array]:
        found = answer(image)
        return found | {name: change(found[name]) for name, change in changes.items()}

    return judge


def report(samples: list[Sample], **changes: Callable[[Array], Array]) -> dict:
    return summarise(compare(answer, {"f32": changed(**changes)}, samples)["f32"], samples, BOUNDS["fp32"])


def test_what_is_equal(samples: list[Sample]) -> None:
    found = report(samples)
    assert found["within"]
    assert found["bounds"] == {"score": 1e-4, "map": 1e-4}
    assert found["mask"] == {"equal_pixels": 1, "equal_images": 1}
    assert (found["labels_agree"], found["flipped"]) == (COUNT, [])
    assert found["image_auroc"]["trained"] == found["image_auroc"]["exported"] == pytest.approx(2 / 3)


def flipped_pixel(masks: Array) -> Array:
    masks[0, 0, 0, 0] ^= 1
    return masks


@pytest.mark.parametrize(
    ("output", "change", "fault"),
    [
        ("pred_score", lambda scores: scores + 2e-4, "scores differ by 0.0002, and may by 0.0001"),
        ("pred_label", lambda labels: 1 - labels, "labels differ where scores are from the threshold by 0.5, and may"),
        ("anomaly_map", lambda maps: maps + np.float32(2e-4), "maps differ by 0.0002, and may by 0.0001"),
        ("anomaly_map", lambda maps: maps * np.nan, "maps differ by nan, and may by 0.0001"),
        ("pred_mask", flipped_pixel, "masks differ where maps are from the threshold by 0.5, and may by 0.0001"),
    ],
)
def test_what_may_not_differ(output: str, change: Callable[[Array], Array], fault: str, samples: list[Sample]) -> None:
    found = report(samples, **{output: change})
    assert not found["within"]
    assert [said.startswith(fault) for said in found["exceeded"]] == [True]


def test_images_are_ranked_by_scores_of_one_kind(samples: list[Sample]) -> None:
    """Normalised scores end at 1; where the exported model has no others, the trained one is ranked by them, too."""

    def clipped(image: Tensor) -> dict[str, Array]:
        return answer(image) | {"pred_score": np.minimum(answer(image)["pred_score"], 0.3)}

    def without_raw(image: Tensor) -> dict[str, Array]:
        return {name: value for name, value in clipped(image).items() if name != "raw_score"}

    for exported in (clipped, without_raw):
        found = summarise(compare(clipped, {"f32": exported}, samples)["f32"], samples, None)["image_auroc"]
        assert found["trained"] == found["exported"]
    assert found["exported"] < 2 / 3


def test_what_may(samples: list[Sample]) -> None:
    closer = {"pred_score": lambda scores: scores + 9e-5, "anomaly_map": lambda maps: maps - np.float32(9e-5)}
    assert report(samples, **closer)["within"]


def test_shares_of_masks(samples: list[Sample]) -> None:
    found = report(samples, pred_mask=lambda masks: flipped_pixel(masks) if masks.all() else masks)
    assert found["mask"] == {
        "equal_pixels": pytest.approx(1 - 2 / COUNT / 16),
        "equal_images": pytest.approx(4 / COUNT),
    }


def test_maps_are_not_kept(samples: list[Sample]) -> None:
    alive: list[weakref.ref] = []
    most = 0

    def judge(image: Tensor) -> dict[str, Array]:
        nonlocal most
        gc.collect()
        most = max(most, sum(kept() is not None for kept in alive))
        found = answer(image)
        alive.append(weakref.ref(found["anomaly_map"]))
        return found

    compare(judge, {"f32": judge, "bf16": judge}, samples)
    assert len(alive) == 3 * (COUNT + 1)  # each once more, to be measured when it is warm
    assert most <= 3
