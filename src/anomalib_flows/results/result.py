"""One image, what is known about it and what the detector said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anomalib_flows.results.heatmap import Picture
from anomalib_flows.core.types import ANOMALOUS, NORMAL

WORDS = {NORMAL: "normal", ANOMALOUS: "anomalous"}


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a figure shows of one image.

    Args:
        path: The image file.
        image: The image, or a function that reads it when its turn comes, so that a whole test set need
            not fit into memory.
        map01: Anomaly map of shape (H, W) in [0, 1], 0.5 being the decision threshold.
        mask: True where the detector sees a defect, of shape (H, W).
        score: Raw image score.
        threshold: The score above which an image is called anomalous.
        p_value: Share of normal images that score at least as high.
        predicted: The detector's label: 0 for normal, 1 for anomalous.
        label: The true label, None if unknown.
        defect: The kind of defect, ``"good"`` for normal images.
        ground_truth: True where the defect is, of any resolution; None if unknown.
    """

    path: Path
    image: Picture | Callable[[], Picture]
    map01: NDArray[np.floating]
    mask: NDArray[np.bool_]
    score: float
    threshold: float
    p_value: float
    predicted: int
    label: int | None = None
    defect: str = ""
    ground_truth: NDArray[np.bool_] | None = None

    @property
    def wrong(self) -> bool:
        """Whether the true label is known and another one was predicted."""
        return self.label is not None and self.label != self.predicted

    def picture(self) -> Picture:
        """Image, read now if it was not before."""
        return self.image() if callable(self.image) else self.image
