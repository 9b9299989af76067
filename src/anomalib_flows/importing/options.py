"""Options of an import, without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from anomalib_flows.core.errors import require
from anomalib_flows.core.limits import require_at_most
from anomalib_flows.run.component import Component
from anomalib_flows.run.options import parse_size

Source = Literal["anomalib", "gathierry", "cflow-ad"]


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """What a checkpoint of another code base does not contain.

    Args:
        data: Name and arguments of the dataset that the model was trained on, to test it.
        backbone: Name of the encoder in timm.
        image_size: Height and width that images are resized to, ``256`` or ``"256,320"``.
        clamp: Bound of a coupling's log-scale.
        mean: Mean of each channel for the normalisation, in [0, 1].
        std: Standard deviation of each channel for the normalisation.
    """

    data: Component | None = None
    backbone: str | None = None
    image_size: int | str | None = None
    clamp: float | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None

    def __post_init__(self) -> None:
        """Check the numbers."""
        if self.image_size is not None:
            parse_size(self.image_size, "image_size")
        require(self.clamp is None or self.clamp > 0, "clamp", self.clamp, "above 0")
        if self.clamp is not None:
            require_at_most("clamp", self.clamp)
        require(self.std is None or min(self.std) > 0, "std", self.std, "above 0")
