"""Whether an exported model decides as the trained one: measured on images, never assumed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from torch import Tensor
from tqdm import tqdm

from anomalib_flows.data.reading import read_image
from anomalib_flows.metrics.ranking import Ranking
from anomalib_flows.types import Sample

Array = npt.NDArray[Any]

BOUNDS = {"fp32": 1e-4, "fp16": 5e-2}
"""By how much a normalised score may differ from that of the trained model; INT8 is measured, not bounded."""


class Answers(NamedTuple):
    """What a model says of n images.

    Args:
        scores: Normalised scores, 0.5 at the threshold, (n,).
        labels: 1 for anomalous images, (n,).
        maps: Normalised maps, (n, H, W).
        ranks: Scores that are not clipped where the graph gives them, to rank images by, (n,).
        seconds: How long each image took, decoding left out, (n,).
    """

    scores: Array
    labels: Array
    maps: Array
    ranks: Array
    seconds: Array


Judge = Callable[[Tensor], dict[str, Array]]
"""Takes an image of shape (3, h, w), uint8, and gives the outputs of a graph for it."""


def answers(judge: Judge, samples: Sequence[Sample], title: str) -> Answers:
    """Ask a model about images, one at a time."""
    said: list[tuple[Any, ...]] = []
    for sample in tqdm(samples, title, unit="image", delay=1, leave=False):
        image = read_image(sample.path)
        start = time.perf_counter()
        out = judge(image)
        seconds = time.perf_counter() - start
        maps = out["anomaly_map"][0, 0].copy()
        score = out["pred_score"][0]
        said.append((score, out["pred_label"][0], maps, out.get("raw_score", [score])[0], np.float64(seconds)))
    return Answers(*(np.stack(column) for column in zip(*said, strict=True)))


def compare(ours: Answers, theirs: Answers, samples: Sequence[Sample], bound: float | None) -> dict[str, Any]:
    """Compare the trained model's answers with those of an exported one.

    Args:
        ours: Answers of the trained model.
        theirs: Answers of the exported model.
        samples: What they were asked about.
        bound: Difference of normalised scores that is allowed, if there is a limit.
    """
    labels = np.array([sample.label for sample in samples])
    apart = np.abs(ours.scores - theirs.scores)
    flipped = np.flatnonzero(ours.labels != theirs.labels)
    report: dict[str, Any] = {
        "score": spread(apart),
        "map": spread(np.abs(ours.maps - theirs.maps)),
        "labels_agree": len(samples) - len(flipped),
        "flipped": [str(samples[int(i)].path) for i in flipped],
        "milliseconds": {"trained": milliseconds(ours.seconds), "exported": milliseconds(theirs.seconds)},
        "image_auroc": {"trained": image_auroc(ours.ranks, labels), "exported": image_auroc(theirs.ranks, labels)},
    }
    if bound is not None:
        far = np.abs(ours.scores[flipped] - 0.5) > bound
        report |= {"bound": bound, "within": bool((apart <= bound).all() and not far.any())}
    return report


def spread(differences: Array) -> dict[str, float]:
    """Largest and mean of differences."""
    return {"largest": float(differences.max()), "mean": float(differences.mean())}


def milliseconds(seconds: Array) -> float:
    """Median in milliseconds."""
    return float(1e3 * np.median(seconds))


def image_auroc(scores: Array, labels: Array) -> float | None:
    """Image AUROC, where there are normal and anomalous images."""
    if len(np.unique(labels)) < 2:
        return None
    return Ranking(scores[labels == 1], [np.sort(scores[labels == 0])]).auroc()
