"""From the outputs of an exported model to the result for an image."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from anomalib_flows.core.conformal import require_rate, threshold_rank, warn_if_too_few
from anomalib_flows.core.errors import InputError, require
from anomalib_flows.core.types import ImageResult, ImageSize
from anomalib_flows.runtime.model_card import ModelCard

HIGHEST = np.nextafter(np.float32(1), np.float32(0))
"""Highest threshold that a normalised value can exceed."""


class DecisionRule:
    """Decide with the thresholds of the model, with another threshold, or for another false-alarm rate.

    A false-alarm rate needs the calibration scores of the model.
    """

    def __init__(
        self, card: ModelCard, name: Path | str, threshold: float | None = None, false_alarm_rate: float | None = None
    ) -> None:
        self._scores = np.array(card.calibration_scores, np.float32)
        self._least_p: float | None = None
        self._limit: np.float32 | None = None
        if threshold is not None and false_alarm_rate is not None:
            raise InputError("Give `threshold` or `false_alarm_rate`, not both.")
        if threshold is not None:
            limit = "at least 0 and below 1, the range of scores and maps; 0.5 is the calibrated threshold"
            require(0 <= threshold < 1 and float(np.float32(threshold)) < 1, "threshold", threshold, limit)
            self._limit = np.float32(threshold)
        if false_alarm_rate is not None:
            require_rate(false_alarm_rate)
            if not len(self._scores):
                raise InputError(f"{name} has no calibration scores, which `false_alarm_rate` needs: leave it out.")
            warn_if_too_few(len(self._scores), false_alarm_rate)
            place = max(1, threshold_rank(len(self._scores), false_alarm_rate))
            self._least_p = place / (len(self._scores) + 1)
            self._limit = within_range(normalised_maximum(card, place), name, false_alarm_rate)

    def __call__(self, outputs: Mapping[str, npt.NDArray[Any]], content: ImageSize) -> ImageResult:
        """Return the result for one image."""
        height, width = content
        anomaly_map, given_mask = (outputs[name][0, 0, :height, :width] for name in ("anomaly_map", "pred_mask"))
        score, raw = outputs["pred_score"][0], outputs["raw_score"][0]
        count = len(self._scores)
        p_value = (1 + count - int(np.searchsorted(self._scores, raw, side="left"))) / (count + 1)
        if self._least_p is not None:
            label = p_value <= self._least_p
        elif self._limit is not None:
            label = not score <= self._limit  # NaN is anomalous
        else:
            label = outputs["pred_label"][0] != 0
        mask = given_mask != 0 if self._limit is None else anomaly_map > self._limit
        return ImageResult(
            score=float(score),
            label=int(label),
            p_value=p_value,
            raw_score=float(raw),
            anomaly_map=anomaly_map.copy(),
            mask=mask,
        )


def normalised_maximum(card: ModelCard, place: int) -> np.float32:
    """Return, as a value of normalised maps, the maximum of rank ``place`` among those of the calibration images.

    It is computed in single precision like the maps, so that the model's own threshold becomes exactly 0.5.
    """
    largest, typical, threshold = np.array(
        [card.calibration_maxima[-place], card.typical, card.pixel_threshold], np.float32
    )
    span = np.maximum(threshold - typical, np.finfo(np.float32).tiny)
    with np.errstate(over="ignore"):  # constant maps have no span
        return np.float32(np.float32(0.5) * (largest - typical) / span)


def within_range(limit: np.float32, name: Path | str, false_alarm_rate: float) -> np.float32:
    """Clip a pixel threshold to the range of normalised maps, and warn if that changes it.

    Maps are clipped in the model, so values beyond the range cannot be told apart.
    """
    nearest = np.clip(limit, np.float32(0), HIGHEST)
    if nearest != limit:
        shown = "pixels where maps reach 1, too many" if limit > 0 else "all pixels above 0, too few"
        warnings.warn(
            f"The maps of {name} range from 0 to 1, but the pixel threshold for a false-alarm rate of "
            f"{false_alarm_rate:g} is {limit:.3g}: masks show {shown}. Labels are exact. For exact masks, calibrate "
            "the run for this rate and export it again.",
            UserWarning,
            stacklevel=4,
        )
    return nearest
