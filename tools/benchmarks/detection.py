"""Metrics of anomaly maps, as several benchmarks report them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from anomalib_flows.core.types import Batch
from anomalib_flows.results.metrics.evaluate import evaluate

Mask = npt.NDArray[np.bool_] | None


class Truth(NamedTuple):
    """Ground truth of N images.

    Args:
        labels: 0 for a normal image, 1 for an anomalous one.
        defects: Kind of defect of each image.
        masks: For each image its mask (H, W), or None if it is unknown.
    """

    labels: list[int]
    defects: list[str]
    masks: list[Mask]

    @classmethod
    def of(cls, batches: Sequence[Batch]) -> Truth:
        """Collect the ground truth of batches."""
        samples = [sample for batch in batches for sample in batch.samples]
        masks = [None if mask is None else mask.numpy() for batch in batches for mask in batch.masks]
        return cls([s.label for s in samples], [s.defect for s in samples], masks)


def image_auroc(scores: Sequence[float] | npt.NDArray[np.floating[Any]], truth: Truth) -> float:
    """Return the image AUROC of N scores."""
    single = np.zeros((len(truth.labels), 1, 1), np.float32)  # no pixels to rank
    return float(compute(scores, single, truth._replace(masks=[None] * len(single)))["image"]["auroc"])


def aurocs(maps: npt.NDArray[np.floating[Any]], truth: Truth) -> tuple[float, float]:
    """Return image and pixel AUROC of maps (N, H, W); the score of an image is the maximum of its map."""
    metrics = compute(maps.max((1, 2)), maps, truth)
    return float(metrics["image"]["auroc"]), float(metrics["pixel"]["auroc"])


def compute(scores: Any, maps: npt.NDArray[np.floating[Any]], truth: Truth) -> dict[str, Any]:
    """Compute all metrics; thresholds play no part in the AUROCs."""
    return evaluate(
        scores=scores,
        labels=truth.labels,
        threshold=0.0,
        maps=list(maps),
        masks=truth.masks,
        defects=truth.defects,
        pixel_threshold=0.0,
    )
