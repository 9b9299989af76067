"""From what a network puts out to a decision."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from anomalib_flows.core.conformal import rank, require_rate, warn_if_too_few
from anomalib_flows.core.errors import InputError, require
from anomalib_flows.core.types import ImageSize
from anomalib_flows.runtime.card import Card

HIGHEST = np.nextafter(np.float32(1), np.float32(0))
"""The highest threshold that a normalised value can exceed."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a detector says about one image.

    Args:
        score: Normalised score in [0, 1], 0.5 being the threshold that the model was calibrated to.
        label: 1 if the image is anomalous, else 0.
        anomaly_map: Normalised map in [0, 1] of shape (H, W), without padding: it covers the image whatever its size.
        mask: True where the image is anomalous, of shape (H, W).
        raw_score: Score before normalising, as the tables of ``test`` and ``predict`` have it.
        p_value: Share of normal images that score at least as high, from 1 / (n + 1) to 1.
    """

    score: float
    label: int
    anomaly_map: npt.NDArray[np.float32]
    mask: npt.NDArray[np.bool_]
    raw_score: float
    p_value: float


class Decision:
    """Decide as the model was calibrated to, or by another threshold or rate of false alarms.

    Args:
        card: What the model says of itself.
        name: What the model is called in an error.
        threshold: Normalised score or value above which an image or a pixel is anomalous.
        false_alarm_rate: Rate that the model's calibration scores give thresholds for, as ``calibrate`` does.

    Raises:
        InputError: If both are given, one lies outside its range, or the model has no calibration scores.
    """

    def __init__(
        self, card: Card, name: Path | str, threshold: float | None = None, false_alarm_rate: float | None = None
    ) -> None:
        self._scores = np.array(card.calibration_scores, np.float32)
        self._least_p: float | None = None
        self._limit: np.float32 | None = None
        if threshold is not None and false_alarm_rate is not None:
            raise InputError("Give a threshold or a false_alarm_rate, not both: each decides by itself.")
        if threshold is not None:
            limit = "at least 0 and below 1, where scores and maps end; 0.5 is what the model was calibrated to"
            require(0 <= threshold < 1 and float(np.float32(threshold)) < 1, "threshold", threshold, limit)
            self._limit = np.float32(threshold)
        if false_alarm_rate is not None:
            require_rate(false_alarm_rate)
            if not len(self._scores):
                raise InputError(f"{name} has no calibration scores, which a false_alarm_rate takes: leave it out.")
            warn_if_too_few(len(self._scores), false_alarm_rate)
            place = max(1, rank(len(self._scores), false_alarm_rate))
            self._least_p = place / (len(self._scores) + 1)
            self._limit = within_range(normalised_maximum(card, place), name, false_alarm_rate)

    def __call__(self, outputs: Mapping[str, npt.NDArray[Any]], content: ImageSize) -> Prediction:
        """Decide on the outputs for one image, whose content takes the given height and width of the maps."""
        height, width = content
        map01, given_mask = (outputs[name][0, 0, :height, :width] for name in ("anomaly_map", "pred_mask"))
        score, raw = outputs["pred_score"][0], outputs["raw_score"][0]
        p_value = self._p_value(raw)
        if self._least_p is not None:
            label = p_value <= self._least_p
        elif self._limit is not None:
            label = not score <= self._limit  # what is not a number is anomalous
        else:
            label = outputs["pred_label"][0] != 0
        mask = given_mask != 0 if self._limit is None else map01 > self._limit
        return Prediction(float(score), int(label), map01.copy(), mask, float(raw), p_value)

    def _p_value(self, raw: np.float32) -> float:
        at_least = len(self._scores) - int(np.searchsorted(self._scores, raw, side="left"))
        return (1 + at_least) / (len(self._scores) + 1)


def normalised_maximum(card: Card, place: int) -> np.float32:
    """Value, in a normalised map, of the maximum that takes a place among those of the calibration images.

    Computed in single precision like the maps, so that the model's own threshold becomes 0.5 exactly.
    """
    largest, typical, threshold = np.array(
        [card.calibration_maxima[-place], card.typical, card.pixel_threshold], np.float32
    )
    span = np.maximum(threshold - typical, np.finfo(np.float32).tiny)
    with np.errstate(over="ignore"):  # maps that are all the same have no span
        return np.float32(np.float32(0.5) * (largest - typical) / span)


def within_range(limit: np.float32, name: Path | str, false_alarm_rate: float) -> np.float32:
    """Bring a threshold of pixels to where normalised maps lie, with a warning if it is elsewhere.

    Maps are bounded in the graph: what lies beyond their ends cannot be told apart.
    """
    nearest = np.clip(limit, np.float32(0), HIGHEST)
    if nearest != limit:
        shown = "masks show where they reach 1, which is more" if limit > 0 else "masks show all above 0, which is less"
        warnings.warn(
            f"The maps of {name} go from 0 to 1, and the threshold of pixels for a false-alarm rate of "
            f"{false_alarm_rate:g} is {limit:.3g}: {shown}; labels are right. For right masks, set the rate by "
            "'anomalib-flows calibrate' in the run, and export it anew.",
            UserWarning,
            stacklevel=4,
        )
    return nearest
