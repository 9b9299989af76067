"""Charts as plain numbers; a template draws them as SVG."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from anomalib_flows.results.report.formats import Curve, Curves, Loss, Part, Point

PRO_LIMIT = 0.3
"""False positive rate up to which the overlap of regions is integrated."""
BINS = 60
WIDEST = 3.0
"""Scores beyond this distance from the threshold share the first or last bin of a histogram: they would flatten it."""
UNIT = (0.0, 1.0)
Range = tuple[float, float]


class Line(NamedTuple):
    """A line of a chart; ``tone`` names its colour."""

    name: str
    points: Sequence[Point]
    tone: int = 0


@dataclass(frozen=True)
class Chart:
    """Lines over two axes, each of which has a title and a range."""

    title: str
    axes: tuple[str, str]
    lines: Sequence[Line]
    x: Range = UNIT
    y: Range = UNIT

    @property
    def ticks(self) -> tuple[list[float], list[float]]:
        """Places of the labels on both axes."""
        return ticks(*self.x), ticks(*self.y)


def ticks(low: float, high: float) -> list[float]:
    """Return about five round numbers within a range.

    Example:
        >>> ticks(0, 0.25), ticks(-3, 17)
        ([0.0, 0.05, 0.1, 0.15, 0.2, 0.25], [0.0, 5.0, 10.0, 15.0])
    """
    rough = (high - low) / 5
    power = 10 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= 0.8 * rough)
    return [round(float(i * step), 12) for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


CURVES: tuple[tuple[str, str, str, str, tuple[str, str], float], ...] = (
    ("ROC of images", "image", "roc", "auroc", ("false positive rate", "recall"), 1),
    ("Precision and recall of images", "image", "precision_recall", "average_precision", ("recall", "precision"), 1),
    ("ROC of pixels", "pixel", "roc", "auroc", ("false positive rate", "recall"), 1),
    ("Precision and recall of pixels", "pixel", "precision_recall", "average_precision", ("recall", "precision"), 1),
    ("PRO of pixels", "pixel", "pro", "aupro", ("false positive rate", "overlap of regions"), PRO_LIMIT),
)
"""Title, level, name, area, axes and end of each curve."""
AREAS = {"auroc": "AUROC", "average_precision": "AP", "aupro": "AUPRO"}
"""Names of areas under curves."""


def curve_charts(named: Sequence[tuple[str, Curves, Part]]) -> list[Chart]:
    """Return the curves of one or several results over each other, each with its name and the area under it."""
    charts = []
    for title, level, kind, area, axes, end in CURVES:
        lines = []
        for tone, (name, curves, metrics) in enumerate(named):
            points: Curve = curves[level].get(kind)  # type: ignore[literal-required]
            value = metrics[level].get(area)  # type: ignore[literal-required]
            if points and value is not None:
                lines.append(Line(f"{name or AREAS[area]} {value:.4f}", points, tone))
        if lines:
            charts.append(Chart(title, axes, lines, x=(0.0, end)))
    return charts


def loss_chart(losses: Sequence[Loss]) -> Chart | None:
    """Return the loss over the steps of a training; None if there are fewer than two points."""
    if len(losses) < 2:
        return None
    points = [(float(loss["step"]), loss["loss"]) for loss in losses]
    steps, values = zip(*points, strict=True)
    span = max(values) - min(values) or max(1.0, abs(max(values)))
    return Chart(
        "Loss",
        ("step", "loss"),
        [Line("training loss", points)],
        x=(min(steps), max(*steps, min(steps) + 1)),
        y=(min(values) - 0.05 * span, max(values) + 0.05 * span),
    )


class Histogram:
    """Shares of scores in equal bins, for each group apart.

    Args:
        scores: Normalised scores of each group; 0.5 is the threshold.
    """

    def __init__(self, scores: Mapping[str, Sequence[float]]) -> None:
        every = [score for group in scores.values() for score in group]
        low, high = min(every, default=0.0), max(every, default=1.0)
        self.low, self.high = max(min(low, 0.0), 0.5 - WIDEST), min(max(high, 1.0), 0.5 + WIDEST)
        self.clipped = low < self.low, high > self.high
        # Shares, since there may be many more of one kind than of the other.
        self.shares = {name: [n / len(group) for n in self._counts(group)] for name, group in scores.items()}
        self.top = max((share for shares in self.shares.values() for share in shares), default=1.0)
        self.bins, self.ticks = BINS, ticks(self.low, self.high)

    def _counts(self, scores: Sequence[float]) -> list[int]:
        """Count scores in each bin; those beyond belong to the first or the last one."""
        width = (self.high - self.low) / BINS
        found = Counter(min(max(math.floor((score - self.low) / width), 0), BINS - 1) for score in scores)
        return [found[place] for place in range(BINS)]
