"""Lines about false alarms and missed defects: what was counted, what was promised, and what cannot be known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anomalib_flows.core.conformal import UNPROMISED


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
