"""Lines about false alarms and missed defects: what was counted, what was promised, and what cannot be known."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from anomalib_flows.core.conformal import UNPROMISED, images_needed, promised_rate

if TYPE_CHECKING:
    from anomalib_flows.results.report.formats import Row
    from anomalib_flows.run.config import TrainConfig
    from anomalib_flows.run.directory import Run

NAMED = 10
"""Number of wrong images of each kind that are named."""


def error_lines(metrics: Mapping[str, Any]) -> list[str]:
    """Return the lines about the wrong decisions of a test; none for metrics of an earlier version."""
    if "errors" not in metrics:
        return []
    errors, lines = metrics["errors"], []
    alarms, missed, kinds = (errors[name] for name in ("false_alarms", "missed", "missed_of_kind"))
    if alarms["of"]:
        lines.append(f"False alarms: {share(alarms, 'good images', promise(metrics))}.")
        lines += verdict(alarms, metrics)
    else:
        lines.append("False alarms: unknown without good images.")
    if missed["of"]:
        each = ", ".join(f"{kind} {one['count']} of {one['of']}" for kind, one in kinds.items())
        lines.append(f"Missed: {share(missed, 'defective images', each)}.")
    else:
        lines.append("Missed: unknown without defective images.")
    return lines


def share(counted: Mapping[str, Any], of: str, more: str = "") -> str:
    """Write a count with its share and interval.

    Example:
        >>> share({"count": 2, "of": 24, "interval": [0.0103, 0.27]}, "good images", "promised: 1 %")
        '2 of 24 good images (8.3 %, 95 % interval 1 to 27 %; promised: 1 %)'
    """
    low, high = counted["interval"]
    interval = f"95 % interval {percent(low)} to {percent(high)} %"
    facts = f"{percent(counted['count'] / counted['of'])} %, {interval}{'; ' * bool(more)}{more}"
    return f"{counted['count']} of {counted['of']} {of} ({facts})"


def percent(rate: float) -> str:
    """Write a rate in percent, with two digits.

    Example:
        >>> percent(1 / 12), percent(0.01), percent(0.9999)
        ('8.3', '1', '100')
    """
    return f"{100 * rate:.2g}" if rate < 0.995 else "100"


def promise(metrics: Mapping[str, Any]) -> str:
    """Return what rate of false alarms is promised, or why none is."""
    rate = metrics["promised_false_alarm_rate"]
    if rate is not None:
        return f"promised: {percent(rate)} %"
    return UNPROMISED[metrics["threshold_source"] if metrics["protocol"] == "calibrated" else "paper"]


def verdict(alarms: Mapping[str, Any], metrics: Mapping[str, Any]) -> list[str]:
    """Say whether the interval of the false-alarm rate confirms or contradicts what was promised, if anything was."""
    from anomalib_flows.results.metrics.counts import images_to_show

    rate, (low, high) = metrics["promised_false_alarm_rate"], alarms["interval"]
    if rate is None:
        return []
    if low > rate:
        return [
            "More than promised: these images differ from those of the calibration, or the calibration had too few."
        ]
    if high <= rate:
        return ["The promise held."]
    if alarms["of"] < (needed := images_to_show(rate)):
        return [f"Too few to know whether the promise held: {needed} good images without a false alarm would show it."]
    return ["That neither confirms nor contradicts the promise."]


def few_images_lines(run: Run) -> list[str]:
    """Say which rate can be promised, if too few images set the threshold of a run, and how many would be enough.

    Nothing is said about a test whose threshold promises nothing.
    """
    from anomalib_flows.data.splits import read_splits, select
    from anomalib_flows.run.listing import model_facts

    metrics = run.metrics()
    if metrics and metrics.get("promised_false_alarm_rate") is None:
        return []
    facts, config = model_facts(run.model_file), run.config()
    count, asked = facts.calibration_images, config.false_alarm_rate
    rate = promised_rate(count, asked, facts.protocol, facts.source)
    if rate is None or rate <= asked:
        return []
    return [few_images_line(count, len(select(read_splits(run.splits_file), "train")), config)]


def few_images_line(count: int, training: int, config: TrainConfig) -> str:
    """Say which rate ``count`` calibration images promise, beside the training images, and how many would be enough."""
    asked, rate, fraction = config.false_alarm_rate, 1 / (count + 1), config.split.calibration_fraction
    images, needed = "image" if count == 1 else "images", images_needed(asked)
    held_out = abs(count - fraction * (count + training)) <= 1  # else they are images of their own
    more = f"about {rounded((needed - count) / fraction)} more good images to train with, or " if held_out else ""
    held = "held-out " * held_out
    fact = f"{count} {held}good {images} set the threshold, so {percent(rate)} % is promised and not {percent(asked)} %"
    return f"{fact}, which takes {needed}: {more}{needed} new ones for 'calibrate --images'."


def rounded(number: float) -> int:
    """Round a number up to two digits.

    Example:
        >>> rounded(653.3), rounded(7), rounded(98)
        (660, 7, 98)
    """
    unit: int = 10 ** max(0, math.floor(math.log10(number)) - 1)
    return math.ceil(number / unit) * unit


def wrong_image_lines(rows: Iterable[Row], table: str) -> list[str]:
    r"""Name the images of wrong decisions, the worst first, with score and kind; ``table`` has those beyond ten.

    Example:
        >>> row = {"outcome": "missed", "score": 0.31, "raw_score": None, "defect": "crack", "path": "a/3.png"}
        >>> print("\n".join(wrong_image_lines([row], "predictions.csv")))
        Missed, lowest scores first (threshold 0.5):
          0.310  crack  a/3.png
    """
    wrong = [row for row in rows if row["outcome"] in ("false alarm", "missed")]
    wrong.sort(key=lambda row: row["score"] if row["raw_score"] is None else row["raw_score"])  # others are clipped
    alarms = [row for row in reversed(wrong) if row["outcome"] != "missed"]
    missed = [row for row in wrong if row["outcome"] == "missed"]
    lines = []
    for title, some in (("False alarms, highest scores first", alarms), ("Missed, lowest scores first", missed)):
        lines += [f"{title} (threshold 0.5):"] if some else []
        lines += [f"  {row['score']:.3f}  {row['defect']}  {row['path']}" for row in some[:NAMED]]
        lines += [f"  and {len(some) - NAMED} more: {table}"] if len(some) > NAMED else []
    return lines
