"""Consumers of a stream of results; none of them keeps pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from anomalib_flows.core.types import NORMAL, ImageResult
from anomalib_flows.results.metrics.evaluate import evaluate


class Sink(Protocol):
    """Take results one by one."""

    def add(self, result: ImageResult) -> None:
        """Take the result of an image."""


class Thresholds(NamedTuple):
    """Thresholds of scores and maps.

    Args:
        image: Raw score above which an image is anomalous.
        pixel: Value above which a pixel is anomalous, in the unit of the maps that are evaluated.
    """

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
        self.scores: list[float] = []
        self.labels: list[int] = []
        self.defects: list[str] = []
        self.maps: list[npt.NDArray[np.float32]] = []
        self.masks: list[npt.NDArray[np.bool_] | None] = []

    def add(self, result: ImageResult) -> None:
        """Keep what metrics need of an image; an exported model gives normalised maps only."""
        if result.sample is None:
            raise ValueError("Metrics need the ground truth of each image.")
        self.scores.append(result.score if result.raw_score is None else result.raw_score)
        self.labels.append(result.sample.label)
        self.defects.append(result.sample.defect)
        self.maps.append(result.anomaly_map if result.raw_map is None else result.raw_map)
        self.masks.append(None if result.sample.label == NORMAL else result.ground_truth)

    def metrics(self, thresholds: Thresholds) -> dict[str, Any]:
        """Compute all metrics."""
        return evaluate(
            scores=np.array(self.scores, np.float32),
            labels=self.labels,
            threshold=thresholds.image,
            maps=self.maps,
            masks=self.masks,
            defects=self.defects,
            pixel_threshold=thresholds.pixel,
        )
