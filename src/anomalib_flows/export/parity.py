"""Whether an exported model decides as the trained one: measured on images, never assumed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from torch import Tensor
from tqdm import tqdm

from anomalib_flows.core.types import Sample
from anomalib_flows.data.loading.reading import read_image
from anomalib_flows.results.metrics.ranking import Ranking

Array = npt.NDArray[Any]

BOUNDS = {"fp32": {"score": 1e-4, "map": 1e-4}, "fp16": {"score": 5e-2}}
"""By how much normalised scores and maps may differ from those of the trained model; INT8 is measured, not bounded.

Labels and masks may differ where the trained model's score or map is as close to the threshold as that.
"""

Judge = Callable[[Tensor], dict[str, Array]]
"""Takes an image of shape (3, h, w), uint8, and gives the outputs of a graph for it."""


class Answer(NamedTuple):
    """What a model says of an image.

    Args:
        score: Normalised score, 0.5 at the threshold.
        label: 1 if the image is anomalous.
        map: Normalised map, (H, W).
        mask: Where the map is anomalous, (H, W).
        raw: Score that is not clipped, where a graph gives it.
        seconds: How long it took, decoding left out.
    """

    score: float
    label: int
    map: Array
    mask: Array
    raw: float | None
    seconds: float


class Comparison(NamedTuple):
    """How two models, the trained one first, answer the same image: numbers only, for maps of all images take room.

    Args:
        scores: Normalised scores of both.
        labels: Labels of both.
        ranks: Scores of both to rank images by, of one kind: raw ones if both have them.
        seconds: How long both took.
        map_largest: Largest difference of their normalised maps.
        map_mean: Mean difference of them.
        mask_share: Share of the pixels in which their masks are equal.
        mask_distance: Largest distance from the threshold of a pixel in which they are not, in the trained map.
    """

    scores: tuple[float, float]
    labels: tuple[int, int]
    ranks: tuple[float, float]
    seconds: tuple[float, float]
    map_largest: float
    map_mean: float
    mask_share: float
    mask_distance: float


def compare(trained: Judge, exported: Mapping[str, Judge], samples: Sequence[Sample]) -> dict[str, list[Comparison]]:
    """Compare models with the trained one, image by image."""
    compared: dict[str, list[Comparison]] = {name: [] for name in exported}
    for judge in (trained, *exported.values()):  # the first time takes longer, which is not to be measured
        judge(read_image(samples[0].path))
    for sample in tqdm(samples, "Comparing", unit="image", delay=1, leave=False):
        image = read_image(sample.path)
        expected = ask(trained, image)
        for name, judge in exported.items():
            compared[name].append(compare_answers(expected, ask(judge, image)))
    return compared


def ask(judge: Judge, image: Tensor) -> Answer:
    """Ask a model about an image."""
    start = time.perf_counter()
    found = judge(image)
    seconds = time.perf_counter() - start
    return Answer(
        score=float(found["pred_score"][0]),
        label=int(found["pred_label"][0]),
        map=found["anomaly_map"][0, 0],
        mask=found["pred_mask"][0, 0] != 0,
        raw=float(found["raw_score"][0]) if "raw_score" in found else None,
        seconds=seconds / len(found["pred_score"]),  # a graph of several images is given the same one as often
    )


def compare_answers(trained: Answer, exported: Answer) -> Comparison:
    """Compare what two models say of the same image."""
    apart = np.abs(trained.map - exported.map)
    other = trained.mask != exported.mask
    return Comparison(
        scores=(trained.score, exported.score),
        labels=(trained.label, exported.label),
        ranks=(trained.score, exported.score)
        if trained.raw is None or exported.raw is None
        else (trained.raw, exported.raw),
        seconds=(trained.seconds, exported.seconds),
        map_largest=float(apart.max()),
        map_mean=float(apart.mean()),
        mask_share=1 - float(other.mean()),
        mask_distance=float(np.abs(trained.map[other] - 0.5).max(initial=0)),
    )


def summarise(
    compared: Sequence[Comparison], samples: Sequence[Sample], bounds: Mapping[str, float] | None
) -> dict[str, Any]:
    """Summarise how an exported model compares with the trained one.

    Args:
        compared: Their comparison on each image.
        samples: The images.
        bounds: Differences of normalised scores, and of maps, that are allowed, if there is a limit.
    """
    scores, labels, ranks, seconds = (
        np.array([getattr(one, pair) for one in compared]).T for pair in ("scores", "labels", "ranks", "seconds")
    )
    true = np.array([sample.label for sample in samples])
    flipped = np.flatnonzero(labels[0] != labels[1])
    map_largest, map_mean, equal = (
        np.array([getattr(one, figure) for one in compared]) for figure in ("map_largest", "map_mean", "mask_share")
    )
    report: dict[str, Any] = {
        "score": spread(np.abs(scores[0] - scores[1])),
        "map": {"largest": float(map_largest.max()), "mean": float(map_mean.mean())},
        "mask": {"equal_pixels": float(equal.mean()), "equal_images": float((equal == 1).mean())},
        "labels_agree": len(samples) - len(flipped),
        "flipped": [str(samples[int(i)].path) for i in flipped],
        "milliseconds": both(*(float(1e3 * np.median(of)) for of in seconds)),
        "image_auroc": both(*(image_auroc(of, true) for of in ranks)),
    }
    if bounds is not None:
        exceeded = exceeding(compared, bounds)
        report |= {"bounds": dict(bounds), "within": not exceeded, "exceeded": exceeded}
    return report


def exceeding(compared: Sequence[Comparison], bounds: Mapping[str, float]) -> list[str]:
    """Say what is farther apart than it may be; a label or a pixel of a mask may differ as near to the threshold."""
    flipped = [one.scores[0] for one in compared if one.labels[0] != one.labels[1]]
    apart = {
        "score": {
            "scores differ": [abs(one.scores[0] - one.scores[1]) for one in compared],
            "labels differ where scores are from the threshold": [abs(score - 0.5) for score in flipped],
        },
        "map": {
            "maps differ": [one.map_largest for one in compared],
            "masks differ where maps are from the threshold": [one.mask_distance for one in compared],
        },
    }
    return [
        f"{fault} by {np.max(values):.2g}, and may by {bound:g}"
        for what, bound in bounds.items()
        for fault, values in apart[what].items()
        if not all(value <= bound for value in values)  # what is not a number exceeds any bound
    ]


def spread(differences: Array) -> dict[str, float]:
    """Largest and mean of differences."""
    return {"largest": float(differences.max()), "mean": float(differences.mean())}


def both(trained: float | None, exported: float | None) -> dict[str, float | None]:
    """Name the figures of both models."""
    return {"trained": trained, "exported": exported}


def image_auroc(scores: Array, labels: Array) -> float | None:
    """Image AUROC, where there are normal and anomalous images."""
    if len(np.unique(labels)) < 2:
        return None
    return Ranking(scores[labels == 1], [np.sort(scores[labels == 0])]).auroc()
