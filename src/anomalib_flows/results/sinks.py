"""Consumers of a stream of results; none of them keeps pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from anomalib_flows.core.types import NORMAL, ImageResult
from anomalib_flows.results.metrics.evaluate import evaluate


class Sink(Protocol):
    """Take results one by one."""

    def add(self, result: ImageResult) -> None:
        """Take the result of an image."""


class Thresholds(NamedTuple):
    """Raw score above which an image is anomalous, and value of a map above which a pixel is."""

    image: float
    pixel: float


def drain(results: Iterable[ImageResult], sinks: Sequence[Sink]) -> None:
    """Pass each result to all sinks."""
    for result in results:
        for sink in sinks:
            sink.add(result)


class LabelCounter:
    """Count the predicted labels."""

    def __init__(self) -> None:
        self.counts = Counter[int]()

    def add(self, result: ImageResult) -> None:
        """Count an image."""
        self.counts[result.label] += 1


class MetricsSink:
    """Collect scores, maps and masks, to compute metrics when all images are there.

    Exact ranking needs all pixels: the maps of a test set are kept once.
    """

    def __init__(self) -> None:
        self.kept: dict[str, Any] = {name: [] for name in ("scores", "labels", "maps", "masks", "defects")}

    def add(self, result: ImageResult) -> None:
        """Keep what metrics need of an image; an exported model gives normalised maps only."""
        if result.sample is None:
            raise ValueError("Metrics need the ground truth of each image.")
        score = result.score if result.raw_score is None else result.raw_score
        shown = result.anomaly_map if result.raw_map is None else result.raw_map
        label, mask = result.sample.label, None if result.sample.label == NORMAL else result.ground_truth
        for kept, value in zip(self.kept.values(), (score, label, shown, mask, result.sample.defect), strict=True):
            kept.append(value)

    def metrics(self, thresholds: Thresholds) -> dict[str, Any]:
        """Compute all metrics."""
        scores = np.array(self.kept["scores"], np.float32)
        return evaluate(**self.kept | {"scores": scores}, threshold=thresholds.image, pixel_threshold=thresholds.pixel)
