"""Option records of an export. They import neither torch nor OpenVINO."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal

from anomalib_flows.core.errors import InputError, require
from anomalib_flows.core.limits import LARGEST, require_at_most, require_size
from anomalib_flows.core.types import AxisOrder, ImageSize, Interface, Precision
from anomalib_flows.run.options import parse_size, require_megapixels

FolderLayout = Literal["folder", "ovms"]
"""Files of an export: in one folder, or as a repository of OpenVINO Model Server."""


@dataclass(frozen=True, kw_only=True)
class InputOptions:
    """Input of an exported model.

    Args:
        layout: Order of the axes.
        channels: Order of the colours.
        size: Height and width of all images, such as ``1080,1920``; needed by devices without dynamic shapes.
        batch: Images in a batch: 1, another number, or 0 for any.
        preprocessing: Whether the model resizes images. Otherwise the input is RGB values from 0 to 255, as floats of
            the model's size in NCHW.
    """

    layout: AxisOrder = "NHWC"
    channels: Literal["RGB", "BGR"] = "RGB"
    size: int | str | ImageSize | None = None
    batch: int = 1
    preprocessing: bool = True

    def __post_init__(self) -> None:
        """Check the values, alone and together."""
        require(self.batch >= 0, "input.batch", self.batch, "at least 1, or 0 for any number")
        require_at_most("input.batch", self.batch)
        sized = self.fixed_size is not None
        require(self.preprocessing or not sized, "input.size", self.size, "left out without `input.preprocessing`")
        default = (self.layout, self.channels) == ("NHWC", "RGB")
        expected = "true with another `input.layout` or `input.channels`: without it the input is RGB in NCHW"
        require(self.preprocessing or default, "input.preprocessing", "false", expected)

    @property
    def fixed_size(self) -> ImageSize | None:
        """Height and width of all images; None if images may have any size."""
        return None if self.size is None else parse_size(self.size, "input.size", LARGEST["input.size"])

    @property
    def plain(self) -> bool:
        """Whether all but the size have their default values."""
        return (self.layout, self.channels, self.batch, self.preprocessing) == ("NHWC", "RGB", 1, True)


@dataclass(frozen=True, kw_only=True)
class QuantizationOptions:
    """How a model is quantised to INT8.

    Args:
        images: Largest number of training images that activations are measured on.
        preset: ``performance`` quantises activations symmetrically about zero, ``mixed`` does not.
        model_type: ``transformer`` for encoders of that kind.
        smooth_quant: Strength, from 0 to 1, by which outliers move from activations into weights; -1 for none. By
            default NNCF chooses it.
        accuracy_control: Whether layers return to floating point until the image AUROC is restored. It is measured on
            the run's validation images, if these are normal and anomalous, else on its calibration images with and
            without synthetic defects.
        max_drop: Largest loss of image AUROC that accuracy control accepts.
    """

    images: int = 300
    preset: Literal["performance", "mixed"] = "performance"
    model_type: Literal["transformer"] | None = None
    smooth_quant: float | None = None
    accuracy_control: bool = False
    max_drop: float = 0.005

    def __post_init__(self) -> None:
        """Check the numbers."""
        require_size("int8.images", self.images, 1)
        require(0 <= self.max_drop <= 1, "int8.max_drop", self.max_drop, "from 0 to 1")
        used = self.accuracy_control or self.max_drop == type(self).max_drop
        require(used, "int8.max_drop", self.max_drop, "left out without `int8.accuracy_control`")
        strength = self.smooth_quant
        valid = strength is None or strength == -1 or 0 <= strength <= 1
        require(valid, "int8.smooth_quant", strength, "from 0 to 1, or -1")

    @property
    def changed(self) -> list[str]:
        """Names of the fields that differ from their default values."""
        return [f"int8.{f.name}" for f in fields(self) if getattr(self, f.name) != f.default]


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """File to write for a trained detector, and images to compare it with the detector on.

    Args:
        format: Format: ``openvino`` for Intel CPUs, GPUs and NPUs, ``onnx``, ``torch`` (torch.export) or another.
        precision: Precision of the weights: fp32, fp16 or int8. By default fp16 for openvino, fp32 for the others.
        interface: Program that reads the file: ``native`` for our runtime, ``model-api`` for OpenVINO Model API in
            Python, ``model-api-map`` for Model API in C++ (raw map only), ``anomalib`` for anomalib's
            OpenVINOInferencer.
        layout: ``folder`` writes the model into the output folder; ``ovms`` writes a model repository of OpenVINO Model
            Server.
        output: New folder; by default export/FORMAT-PRECISION in the run.
        images: Images to compare on: ``calibration`` or ``test`` images of the run, or a folder of images.
        max_megapixels: Limit of an image's pixels, in millions; by default as in training.
        input: Input of the exported model.
        int8: How weights and activations are quantised to INT8.
    """

    format: str = "openvino"
    precision: Precision | None = None
    interface: Interface = "native"
    layout: FolderLayout = "folder"
    output: Path | None = None
    images: str = "calibration"
    max_megapixels: float | None = None
    input: InputOptions = field(default_factory=InputOptions)
    int8: QuantizationOptions = field(default_factory=QuantizationOptions)

    @property
    def folder_name(self) -> str:
        """Name of the default output folder, once the precision is known."""
        return "-".join([self.format, str(self.precision), *([self.interface] if self.interface != "native" else [])])

    def __post_init__(self) -> None:
        """Check the limit of pixels."""
        if self.max_megapixels is not None:
            require_megapixels("max_megapixels", self.max_megapixels)

    def require_used(self) -> None:
        """Raise an InputError if options of INT8 are given for another precision."""
        if self.int8.changed and self.precision != "int8":
            names = " and ".join(f"`{name}`" for name in self.int8.changed)
            raise InputError(f"{names} cannot be used with `precision` {self.precision}: use int8, or leave it out.")
