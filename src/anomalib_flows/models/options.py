"""What the command line must know of models: without torch, so that help and mistakes come at once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from anomalib_flows.core.types import require


class Model(ABC):
    """What ``--model`` may name; :class:`anomalib_flows.models.base.Detector` says what it is."""

    @abstractmethod
    def encode(self, images: Any) -> Any:
        """Return the features of images."""


@dataclass(frozen=True, kw_only=True)
class HeatmapOptions:
    """How maps become scores; part of the model, and so of what is deployed.

    Args:
        smoothing: Standard deviation, in pixels, of the Gaussian that smooths maps; 0 for none.
        top_percent: Percentage of the map's pixels, those with the highest values, whose mean is the image's score; 0
            for the maximum. With ``pad`` the padding counts as pixels of the map.
    """

    smoothing: float = 0.0
    top_percent: float = 1.0

    def __post_init__(self) -> None:
        """Refuse numbers of no use when they are given."""
        require(0 <= self.smoothing <= 100, "--heatmap.smoothing", self.smoothing, "from 0 to 100 pixels")
        require(0 <= self.top_percent <= 100, "--heatmap.top_percent", self.top_percent, "from 0 to 100")
