"""How thresholds are set: option records without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from anomalib_flows.core.errors import require

AREAS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Values of ``mask_area``: for each a model keeps one value of every calibration map, so that no images are needed."""


@dataclass(frozen=True, kw_only=True)
class DecisionOptions:
    """How masks are decided.

    Args:
        mask_area: Percentage of its pixels that a good image's mask may cover before it counts as a false alarm: 0
            (none), 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5 or 10. A larger one lowers the pixel threshold: masks cover
            more of a defect, and more good images have specks in theirs.
    """

    mask_area: float = 0.0

    def __post_init__(self) -> None:
        expected = f"one of {', '.join(f'{area:g}' for area in AREAS)}, in percent"
        require(self.mask_area in AREAS, "decision.mask_area", self.mask_area, expected)


class ThresholdRule(NamedTuple):
    """How thresholds are set beside the false-alarm rate.

    Args:
        image: Image threshold by hand in normalised units, in which 0.5 is that of the rate; None for that of the rate.
        pixel: Pixel threshold by hand, likewise.
        mask_area: See :class:`DecisionOptions`.
    """

    image: float | None = None
    pixel: float | None = None
    mask_area: float = 0.0
