"""Consumers of a stream of results, among them the table of predictions; none of them keeps pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from anomalib_flows.core.types import NORMAL, ImageResult, ImageSize
from anomalib_flows.results.metrics.counts import counted
from anomalib_flows.results.metrics.evaluate import evaluate


class Sink(Protocol):
    """Take results one by one."""

    def add(self, result: ImageResult) -> None:
        """Take the result of an image."""


class Thresholds(NamedTuple):
    """Raw score above which an image is anomalous, value of a map above which a pixel is, and score normalised to 0."""

    image: float
    pixel: float
    typical: float = 0.0

    @property
    def image_scale(self) -> dict[str, float]:
        """Raw scores that are normalised to 0 and 0.5, as files of results name them."""
        return {"typical": self.typical, "threshold": self.image}


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


class SizeCounter:
    """Count the heights and widths of the pictures."""

    def __init__(self) -> None:
        self.counts = Counter[ImageSize]()

    def add(self, result: ImageResult) -> None:
        """Count a picture."""
        if result.picture is not None:
            height, width = result.picture.shape[:2]
            self.counts[height, width] += 1


class ErrorCounter:
    """Count wrong decisions: false alarms, good images with a mask, and missed images of each kind of defect."""

    def __init__(self) -> None:
        # By kind of defect; good images have none.
        self.total, self.wrong, self.marked = Counter[str](), Counter[str](), 0

    def add(self, result: ImageResult) -> None:
        """Count an image whose true label is known."""
        if result.sample is None:
            raise ValueError("Errors need the ground truth of each image.")
        kind = "" if result.sample.label == NORMAL else result.sample.defect
        self.total[kind] += 1
        self.wrong[kind] += result.wrong
        self.marked += not kind and bool(result.mask.any())

    def errors(self) -> dict[str, Any]:
        """Return the counts of false alarms, of good images with a mask, and of missed defects, also for each kind."""
        missed = {kind: counted(self.wrong[kind], self.total[kind]) for kind in sorted(self.total) if kind}
        every = counted(*(counts.total() - counts[""] for counts in (self.wrong, self.total)))
        return {
            "false_alarms": counted(self.wrong[""], self.total[""]),
            "marked_good_images": counted(self.marked, self.total[""]),
            "missed": every,
            "missed_of_kind": missed,
        }


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
