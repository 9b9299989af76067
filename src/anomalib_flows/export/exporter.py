"""The contract of an export format, and the records of an export."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.types import Interface, Precision, Sample
from anomalib_flows.export.network import Network
from anomalib_flows.export.options import ExportOptions, FolderLayout
from anomalib_flows.export.predictors import PredictImage
from anomalib_flows.models.pipeline import Pipeline
from anomalib_flows.run.config import TrainConfig
from anomalib_flows.run.directory import Run

INFERENCE_PRECISION = "f32"
"""Inference precision of exported models, whatever the precision of their weights. Some CPUs would use bfloat16."""


@dataclass(frozen=True, kw_only=True)
class ExportJob:
    """A calibrated pipeline, and how to write it.

    Args:
        run: The run that the pipeline belongs to.
        config: Its configuration.
        pipeline: The pipeline.
        network: From images to raw maps, ready for tracing.
        options: The options, with the precision filled in.
        samples: Images of the run that INT8 may use.
    """

    run: Run
    config: TrainConfig
    pipeline: Pipeline
    network: Network
    options: ExportOptions
    samples: Sequence[Sample]

    @property
    def max_megapixels(self) -> float:
        """Limit of the pixels of an image, in millions."""
        return self.options.max_megapixels or self.config.loader.max_megapixels


@dataclass(frozen=True, kw_only=True)
class Exported:
    """A file that was written.

    Args:
        predictors: Functions that predict with the file, by inference precision: the intended one first, then the
            default of the device, if that is another.
        seconds: Duration of the conversion.
        sizes: Bytes of the constants of each part of the model; empty if a format does not separate parts.
        quantization: How the model was quantised to INT8.
    """

    predictors: Mapping[str, PredictImage]
    seconds: float
    sizes: Mapping[str, int] = field(default_factory=dict)
    quantization: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Exporter:
    """An export format. The module ``anomalib_flows.export.formats.NAME`` contains one as ``EXPORTER``.

    Args:
        suffix: Suffix of the file.
        precisions: Precisions of the weights, the default first.
        write: Function that writes a file, and reads it again to predict with it. It raises an InputError if the model
            cannot be converted.
        interfaces: Programs that the file can be written for.
        layouts: Layouts of the output folder.
        modules: Modules that must be installed; each is the name of its package, too.
    """

    suffix: str
    precisions: tuple[Precision, ...]
    write: Callable[[ExportJob, Path], Exported]
    interfaces: tuple[Interface, ...] = ("native",)
    layouts: tuple[FolderLayout, ...] = ("folder",)
    modules: tuple[str, ...] = ()


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
