"""What may be chosen of INT8; apart, since reading options takes no OpenVINO."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from anomalib_flows.core.errors import require


@dataclass(frozen=True, kw_only=True)
class QuantizationOptions:
    """How a model becomes INT8.

    Args:
        images: How many training images activations are measured on, at most.
        preset: ``performance`` quantises activations symmetrically about zero, ``mixed`` does not.
        model_type: ``transformer`` for encoders of that kind.
        smooth_quant: Strength, from 0 to 1, by which outliers move from activations into weights; -1 for none, and
            NNCF's choice if not given.
        accuracy_control: Whether layers return to floating point until images are ranked nearly as before. They are
            the run's validation images, if it has normal and anomalous ones, or its calibration images as they are
            and with drawn defects.
        max_drop: How much image AUROC accuracy control may lose on them.
    """

    images: int = 300
    preset: Literal["performance", "mixed"] = "performance"
    model_type: Literal["transformer"] | None = None
    smooth_quant: float | None = None
    accuracy_control: bool = False
    max_drop: float = 0.005

    def __post_init__(self) -> None:
        """Refuse what is of no use when it is given."""
        require(self.images >= 1, "--int8.images", self.images, "at least 1")
        require(0 <= self.max_drop <= 1, "--int8.max_drop", self.max_drop, "from 0 to 1")
        heeded = self.accuracy_control or self.max_drop == type(self).max_drop
        require(heeded, "--int8.max_drop", self.max_drop, "left out, or with --int8.accuracy_control true")
        known = self.smooth_quant is None or self.smooth_quant == -1 or 0 <= self.smooth_quant <= 1
        require(known, "--int8.smooth_quant", self.smooth_quant, "from 0 to 1, or -1 for none")
