"""The dictionary of figures: which images count where, what is undefined, what is refused."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from anomalib_flows.core.errors import InputError
from anomalib_flows.results.metrics.evaluate import evaluate


@dataclass
class Run:
    """The arguments of evaluate, one entry an image."""

    scores: np.ndarray
    labels: np.ndarray
    maps: list[np.ndarray]
    masks: list[np.ndarray | None]
    defects: list[str]

    def figures(self) -> dict[str, Any]:
        return evaluate(self.scores, self.labels, 0.5, self.maps, self.masks, self.defects, 1.0)

    def only(self, kept: list[int]) -> Run:
        maps, masks, defects = ([values[i] for i in kept] for values in (self.maps, self.masks, self.defects))
        return Run(self.scores[kept], self.labels[kept], maps, masks, defects)


@pytest.fixture
def run() -> Run:
    rng = np.random.default_rng(0)
    defects = ["good", "crack", "good", "dent", "crack", "good", "dent", "crack", "scratch"]
    labels = np.array([defect != "good" for defect in defects]).astype(int)
    maps, masks = [], []
    for i, label in enumerate(labels):
        size = (8 + i, 12 - i % 3)
        mask = (rng.random(size) < 0.2) & bool(label)
        maps.append((rng.standard_normal(size) + mask).round(1).astype(np.float32))
        masks.append(mask if label else None)
    masks[8] = None  # the scratch: anomalous, but where is not known
    return Run((rng.standard_normal(9) + labels).round(1), labels, maps, masks, defects)


def test_image_figures_are_those_of_scikit_learn(run: Run) -> None:
    image = run.figures()["image"]
    assert image["auroc"] == pytest.approx(roc_auc_score(run.labels, run.scores))
    assert image["average_precision"] == pytest.approx(average_precision_score(run.labels, run.scores))
    assert image["f1"] == pytest.approx(f1_score(run.labels, run.scores > 0.5))
    assert image["f1_max"] == pytest.approx(f1_score(run.labels, run.scores > image["f1_max_threshold"]))
    assert (image["threshold"], image["normal_images"], image["anomalous_images"]) == (0.5, 3, 6)


def test_pixel_figures_are_those_of_scikit_learn(run: Run) -> None:
    """Pixels around a defect and all pixels of normal images are normal; the unmasked scratch is left out."""
    pixel = run.figures()["pixel"]
    scores = np.concatenate([run.maps[i].ravel() for i in range(8)])
    truth = np.concatenate(
        [np.zeros(run.maps[i].size, bool) if run.masks[i] is None else run.masks[i].ravel() for i in range(8)]
    )
    assert pixel["auroc"] == pytest.approx(roc_auc_score(truth, scores))
    assert pixel["average_precision"] == pytest.approx(average_precision_score(truth, scores))
    assert pixel["f1"] == pytest.approx(f1_score(truth, scores > 1))
    assert pixel["f1_max"] == pytest.approx(f1_score(truth, scores > pixel["f1_max_threshold"]))
    assert (pixel["threshold"], pixel["normal_images"], pixel["masked_images"]) == (1.0, 3, 5)


def test_a_kind_of_defect_is_set_against_all_normal_images(run: Run) -> None:
    defects = run.figures()["defects"]
    assert list(defects) == ["crack", "dent", "scratch"]
    for kind, figures in defects.items():
        alone = run.only([i for i, defect in enumerate(run.defects) if defect in ("good", kind)]).figures()
        assert figures == {"image": alone["image"], "pixel": alone["pixel"]}


def test_without_a_mask_only_the_pixel_figures_are_undefined(run: Run) -> None:
    scratch = run.figures()["defects"]["scratch"]
    assert scratch["pixel"] == {
        **dict.fromkeys(["auroc", "average_precision", "f1_max", "f1_max_threshold", "f1", "aupro", "aupimo"]),
        "threshold": 1.0,
        "normal_images": 3,
        "masked_images": 0,
    }
    assert None not in scratch["image"].values()


def test_a_mask_of_a_normal_image_makes_no_difference(run: Run) -> None:
    empty = [np.zeros(scores.shape, dtype=bool) for scores in run.maps]
    masks = [mask if label else empty[i] for i, (mask, label) in enumerate(zip(run.masks, run.labels, strict=True))]
    assert replace(run, masks=masks).figures() == run.figures()


def test_an_empty_mask_adds_normal_pixels_only(run: Run) -> None:
    """An anomalous image whose mask is known to be empty counts, but it has no region to find."""
    masks = [*run.masks[:8], np.zeros_like(run.maps[8], dtype=bool)]
    figures = replace(run, masks=masks).figures()
    as_normal = replace(run, labels=np.array([*run.labels[:8], 0])).figures()
    assert figures["pixel"]["masked_images"] == 6
    for name in ("auroc", "average_precision", "f1_max", "f1", "aupro"):
        assert figures["pixel"][name] == pytest.approx(as_normal["pixel"][name])
    assert figures["defects"]["scratch"]["pixel"]["aupro"] is None


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_alone_leaves_figures_undefined(run: Run, label: int) -> None:
    image = run.only([i for i, other in enumerate(run.labels) if other == label]).figures()["image"]
    counts = {"normal_images": 3 * (1 - label), "anomalous_images": 6 * label}
    undefined = dict.fromkeys(["auroc", "average_precision", "f1_max", "f1_max_threshold", "f1"])
    assert image == {**undefined, "threshold": 0.5, **counts}


def test_defective_images_alone_have_normal_pixels(run: Run) -> None:
    pixel = run.only([1, 3, 4]).figures()["pixel"]
    truth, scores = (np.concatenate([a[i].ravel() for i in (1, 3, 4)]) for a in (run.masks, run.maps))
    assert pixel["auroc"] == pytest.approx(roc_auc_score(truth, scores))
    assert pixel["normal_images"] == 0


def test_no_images_at_all() -> None:
    figures = evaluate([], [], 0.5, [], [], [], 0.5)
    assert figures["image"]["auroc"] is figures["pixel"]["aupro"] is None
    assert figures["defects"] == {}


def test_figures_are_plain_json(run: Run) -> None:
    figures = run.figures()
    assert json.loads(json.dumps(figures, allow_nan=False)) == figures


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_types_are_exact(run: Run, dtype: type) -> None:
    maps = [np.round(scores * 10).astype(np.float32) for scores in run.maps]  # integers, the same in every type
    mixed = [scores.astype(dtype if i % 2 else np.float32) for i, scores in enumerate(maps)]
    expected, given = replace(run, maps=maps).figures(), replace(run, maps=mixed).figures()
    for name in ("auroc", "average_precision", "f1_max", "f1", "aupro"):
        assert given["pixel"][name] == expected["pixel"][name]


def test_float64_scores_are_not_rounded_to_float32(run: Run) -> None:
    scores = np.where(run.labels == 1, 1 + 1e-12, 1.0)
    assert replace(run, scores=scores).figures()["image"]["auroc"] == 1


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_that_are_no_numbers_are_counted_and_refused(run: Run, bad: float) -> None:
    run.maps[3][1, 2] = run.maps[8][0, :2] = bad
    total = sum(scores.size for scores in run.maps)
    with pytest.raises(InputError, match=f"^3 of {total} pixel scores are NaN or infinite"):
        run.figures()
    run.scores[2] = bad
    with pytest.raises(InputError, match=r"^1 of 9 image scores are NaN or infinite"):
        run.figures()


def test_inputs_that_do_not_fit_are_refused(run: Run) -> None:
    with pytest.raises(InputError, match="9 scores, 9 labels, 9 maps, 8 masks, 9 defects"):
        replace(run, masks=run.masks[:8]).figures()
    with pytest.raises(InputError, match=r"Image 1 has a mask of shape \(2, 2\) for a map of shape \(9, 11\)"):
        replace(run, masks=[None, np.ones((2, 2), dtype=bool), *run.masks[2:]]).figures()
    with pytest.raises(InputError, match="label of image 0 is 2"):
        replace(run, labels=run.labels + 2).figures()
    with pytest.raises(InputError, match=r"pixel scores of shape \(1, 8, 12\) must have 2 dimension"):
        replace(run, maps=[scores[None] for scores in run.maps]).figures()
