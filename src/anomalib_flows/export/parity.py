"""Differences between an exported model and the trained one, measured on images."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from torch import Tensor
from tqdm import tqdm

from anomalib_flows.core.images import MAX_MEGAPIXELS
from anomalib_flows.core.types import ImageResult, Sample
from anomalib_flows.data.loading.reading import read_image
from anomalib_flows.export.predictors import PredictImage
from anomalib_flows.results.metrics.ranking import Ranking

Array = npt.NDArray[Any]

BOUNDS = {"fp32": {"score": 1e-4, "map": 1e-4}, "fp16": {"score": 5e-2}}
"""Largest differences of normalised scores and maps from the trained model, by precision; INT8 has no bounds.

Labels and masks may differ where the score or the map of the trained model is as close to the threshold as that.
"""


class Comparison(NamedTuple):
    """Results of two models, the trained one first, for one image. Maps of all images would need too much memory.

    Args:
        scores: Normalised scores of both.
        labels: Labels of both.
        ranks: Scores that images are ranked by: raw scores if both models return them, else normalised ones.
        seconds: Duration of both predictions.
        map_largest: Largest difference of the normalised maps.
        map_mean: Mean difference of the normalised maps.
        mask_share: Share of pixels with equal masks.
        mask_distance: Largest distance of the trained map from the threshold where masks differ.
    """

    scores: tuple[float, float]
    labels: tuple[int, int]
    ranks: tuple[float, float]
    seconds: tuple[float, float]
    map_largest: float
    map_mean: float
    mask_share: float
    mask_distance: float


def compare(
    trained: PredictImage,
    exported: Mapping[str, PredictImage],
    samples: Sequence[Sample],
    batch: int = 1,
    max_megapixels: float = MAX_MEGAPIXELS,
) -> dict[str, list[Comparison]]:
    """Compare exported models, by name, with the trained one, image by image.

    The duration of an exported model is divided by the number of images that it computes at once, ``batch``.
    """
    compared: dict[str, list[Comparison]] = {name: [] for name in exported}
    for predict in (trained, *exported.values()):  # the first prediction takes longer
        predict(read_image(samples[0].path, max_megapixels))
    for sample in tqdm(samples, "Comparing", unit="image", delay=1, leave=False):
        image = read_image(sample.path, max_megapixels)
        expected, expected_seconds = timed_prediction(trained, image)
        for name, predict in exported.items():
            found, seconds = timed_prediction(predict, image)
            compared[name].append(compare_results(expected, found, (expected_seconds, seconds / batch)))
    return compared


def timed_prediction(predict: PredictImage, image: Tensor) -> tuple[ImageResult, float]:
    """Return the result for an image, and the duration in seconds."""
    start = time.perf_counter()
    result = predict(image)
    return result, time.perf_counter() - start


def compare_results(trained: ImageResult, exported: ImageResult, seconds: tuple[float, float]) -> Comparison:
    """Compare the results of two models for the same image."""
    difference = np.abs(trained.anomaly_map - exported.anomaly_map)
    unequal = trained.mask != exported.mask
    scores, raw = (trained.score, exported.score), (trained.raw_score, exported.raw_score)
    return Comparison(
        scores=scores,
        labels=(trained.label, exported.label),
        ranks=scores if raw[0] is None or raw[1] is None else (raw[0], raw[1]),
        seconds=seconds,
        map_largest=float(difference.max()),
        map_mean=float(difference.mean()),
        mask_share=1 - float(unequal.mean()),
        mask_distance=float(np.abs(trained.anomaly_map[unequal] - 0.5).max(initial=0)),
    )


def summarise(
    compared: Sequence[Comparison], samples: Sequence[Sample], bounds: Mapping[str, float] | None
) -> dict[str, Any]:
    """Summarise the differences between an exported model and the trained one, with bounds if there are any."""
    scores, labels, ranks, seconds = (
        np.array([getattr(one, pair) for one in compared]).T for pair in ("scores", "labels", "ranks", "seconds")
    )
    true = np.array([sample.label for sample in samples])
    flipped = np.flatnonzero(labels[0] != labels[1])
    map_largest, map_mean, equal = (
        np.array([getattr(one, name) for one in compared]) for name in ("map_largest", "map_mean", "mask_share")
    )
    differences = np.abs(scores[0] - scores[1])
    summary: dict[str, Any] = {
        "score": {"largest": float(differences.max()), "mean": float(differences.mean())},
        "map": {"largest": float(map_largest.max()), "mean": float(map_mean.mean())},
        "mask": {"equal_pixels": float(equal.mean()), "equal_images": float((equal == 1).mean())},
        "labels_agree": len(samples) - len(flipped),
        "flipped": [str(samples[int(i)].path) for i in flipped],
        "milliseconds": of_both(*(float(1e3 * np.median(of)) for of in seconds)),
        "image_auroc": of_both(*(image_auroc(of, true) for of in ranks)),
    }
    if bounds is not None:
        exceeded = exceeded_bounds(compared, bounds)
        summary |= {"bounds": dict(bounds), "within": not exceeded, "exceeded": exceeded}
    return summary


def exceeded_bounds(compared: Sequence[Comparison], bounds: Mapping[str, float]) -> list[str]:
    """Describe the differences that exceed their bounds.

    Labels and pixels of masks may differ if they are within the bounds of the threshold.
    """
    flipped = [one.scores[0] for one in compared if one.labels[0] != one.labels[1]]
    differences = {
        "score": {
            "scores differ by": [abs(one.scores[0] - one.scores[1]) for one in compared],
            "labels differ where the distance of scores from the threshold is": [abs(score - 0.5) for score in flipped],
        },
        "map": {
            "maps differ by": [one.map_largest for one in compared],
            "masks differ where the distance of maps from the threshold is": [one.mask_distance for one in compared],
        },
    }
    return [
        f"{fault} {np.max(values):.2g} (at most {bound:g} is allowed)"
        for name, bound in bounds.items()
        for fault, values in differences[name].items()
        if not all(value <= bound for value in values)  # NaN exceeds any bound
    ]


def of_both(trained: float | None, exported: float | None) -> dict[str, float | None]:
    """Return a value of both models by name."""
    return {"trained": trained, "exported": exported}


def image_auroc(scores: Array, labels: Array) -> float | None:
    """Return the image AUROC; None unless there are normal and anomalous images."""
    if len(np.unique(labels)) < 2:
        return None
    return Ranking(scores[labels == 1], [np.sort(scores[labels == 0])]).auroc()
