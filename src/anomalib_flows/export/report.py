"""The record of an export."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anomalib_flows.core.errors import InputError


@dataclass(frozen=True, kw_only=True)
class ExportReport:
    """File that was written, and its differences from the trained model.

    Args:
        file: The exported model.
        images: Images that were compared: ``calibration``, ``test`` or a folder.
        count: Number of these images.
        seconds: Duration of the conversion.
        sizes: Bytes of the constants of each part of the model; empty if a format does not separate parts.
        quantization: How the model was quantised to INT8.
        computed_in: Differences by inference precision, see :func:`~anomalib_flows.export.parity.summarise`: the
            intended precision first, then the default of this device, if that is another.
    """

    file: Path
    images: str
    count: int
    seconds: float
    sizes: Mapping[str, int]
    quantization: Mapping[str, Any]
    computed_in: Mapping[str, Mapping[str, Any]]

    @property
    def intended(self) -> Mapping[str, Any]:
        """Differences in the intended inference precision."""
        return next(iter(self.computed_in.values()))

    def to_dict(self) -> dict[str, Any]:
        """Return the content of ``parity.json``."""
        return {
            "images": {"what": self.images, "count": self.count},
            "converted_in_seconds": round(self.seconds, 2),
            "bytes": dict(self.sizes),
            "quantization": dict(self.quantization),
            "computed_in": dict(self.computed_in),
        }

    def require_parity(self, precision: str | None) -> None:
        """Raise an InputError if the differences exceed the bounds of a precision."""
        if not self.intended.get("within", True):
            raise InputError(
                f"The {precision} model decides otherwise than the trained one: "
                f"{'; '.join(self.intended['exceeded'])}. Nothing was written; please report this with the run's "
                "config.yaml."
            )
