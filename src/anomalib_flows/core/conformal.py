"""Conformal thresholds: how many calibration images a false-alarm rate needs. Torch-free, for the runtime as well."""

from __future__ import annotations

import math
import warnings

from anomalib_flows.core.errors import require
from anomalib_flows.core.types import Protocol, ThresholdSource


def warn_if_too_few(count: int, false_alarm_rate: float) -> None:
    """Warn if there are too few calibration images for a false-alarm rate."""
    if threshold_rank(count, false_alarm_rate) == 0:
        needed = images_needed(false_alarm_rate)
        warnings.warn(
            f"Too few calibration images for a false-alarm rate of {false_alarm_rate:g}, which takes {needed}: there "
            f"{'is' if count == 1 else 'are'} {count}. The threshold is the largest normal score, whose rate is about "
            f"{1 / (count + 1):.2g}.",
            stacklevel=3,
        )


def images_needed(false_alarm_rate: float) -> int:
    """Return how many calibration images a false-alarm rate needs: the lowest n with 1 / (n + 1) <= rate.

    Example:
        >>> images_needed(0.01)
        99
    """
    return math.ceil(1 / false_alarm_rate - 1 - 1e-9)


UNPROMISED = {
    "hand": "no rate is promised, as the threshold was set by hand",
    "defects": "no rate is promised, as photos of defects set the threshold",
    "paper": "no rate is promised, as test images set the threshold",
}
"""Why a threshold promises no false-alarm rate, by its source or protocol."""


def promised_rate(count: int, false_alarm_rate: float, protocol: Protocol, source: ThresholdSource) -> float | None:
    """Return the rate that a threshold keeps to: with too few calibration images a higher one than was asked for.

    None if nothing is promised: the threshold was set on test images, by hand or from defects.
    """
    if protocol == "paper" or source != "false-alarm-rate":
        return None
    return max(false_alarm_rate, 1 / (count + 1))


def require_rate(false_alarm_rate: float) -> None:
    """Raise a FieldError unless a false-alarm rate is between 0 and 1, both excluded."""
    require(0 < false_alarm_rate < 1, "false_alarm_rate", false_alarm_rate, "between 0 and 1, such as 0.01")


def threshold_rank(count: int, rate: float) -> int:
    """Return the rank k, from above, of the normal score that is the threshold: ``floor(rate * (count + 1))``.

    Zero means that there are too few scores. The small addend keeps 0.01 * 100 from falling below 1.
    """
    return math.floor(rate * (count + 1) + 1e-9)
