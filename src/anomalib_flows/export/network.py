"""The pipeline as modules that can be traced: images to raw maps, and raw maps to decisions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from anomalib_flows.core.errors import require
from anomalib_flows.core.types import ImageSize
from anomalib_flows.data.datasets.base import parse_size
from anomalib_flows.export.resizing import hide_padding, resize
from anomalib_flows.models.components.whitening import Whitening
from anomalib_flows.models.heatmap import smooth
from anomalib_flows.models.pipeline import Pipeline
from anomalib_flows.models.postprocess import Postprocess


@dataclass(frozen=True, kw_only=True)
class InputOptions:
    """What a graph takes.

    Args:
        layout: Order of an image's axes.
        channels: Order of its colours.
        size: Height and width of the images, ``1080,1920``, if all have one; devices without dynamic shapes need it.
        batch: Images at once: 1, another number, or 0 for any.
        preprocessing: Whether resizing is in the graph; else it takes RGB values from 0 to 255 of the model's size as
            floats, NCHW.
    """

    layout: Literal["NHWC", "NCHW"] = "NHWC"
    channels: Literal["RGB", "BGR"] = "RGB"
    size: int | str | ImageSize | None = None
    batch: int = 1
    preprocessing: bool = True

    def __post_init__(self) -> None:
        """Refuse what is of no use when it is given."""
        require(self.batch >= 0, "--input.batch", self.batch, "at least 1, or 0 for any number")
        require(
            self.fixed_size is None or self.preprocessing, "--input.size", self.size, "left out, or with preprocessing"
        )
        require(
            self.preprocessing or (self.layout, self.channels, self.size) == ("NHWC", "RGB", None),
            "--input.preprocessing",
            "false beside other layouts, channels or sizes",
            "true, or alone: such a graph takes RGB of the model's size",
        )

    @property
    def fixed_size(self) -> ImageSize | None:
        """Height and width of all images, if they have one."""
        return None if self.size is None else parse_size(self.size, "--input.size")


class Network(nn.Module):
    """From images to raw maps.

    Args:
        pipeline: What is deployed.
        options: What it takes.
        unit_floats: Whether images are floats from 0 to 1, NCHW, as anomalib gives them.
    """

    def __init__(self, pipeline: Pipeline, options: InputOptions, *, unit_floats: bool = False) -> None:
        super().__init__()
        self.options, self.unit_floats = options, unit_floats
        self.preprocess, self.smoothing = pipeline.preprocess, pipeline.heatmap.smoothing
        self.detector = pipeline.detector.deployable()
        self.whitenings = [module for module in self.detector.modules() if isinstance(module, Whitening)]

    @property
    def channels_last(self) -> bool:
        """Whether colours are the input's last axis."""
        return self.options.preprocessing and self.options.layout == "NHWC" and not self.unit_floats

    @property
    def input_size(self) -> ImageSize:
        """Height and width of the input, -1 for any."""
        return (self.options.fixed_size or (-1, -1)) if self.options.preprocessing else self.preprocess.size

    def example(self) -> Tensor:
        """Make an input to trace with; dimensions that may vary are no special numbers."""
        batch, (height, width) = self.options.batch or 2, self.preprocess.size
        if self.options.preprocessing:
            height, width = self.options.fixed_size or (height + 1, width + 2)
        shape = (batch, height, width, 3) if self.channels_last else (batch, 3, height, width)
        if self.unit_floats or not self.options.preprocessing:
            return torch.rand(shape)
        return torch.randint(256, shape, dtype=torch.uint8)

    def forward(self, images: Tensor) -> Marked:
        """Map images."""
        size, mode = self.preprocess.size, self.preprocess.mode
        if self.options.preprocessing:
            values = images if self.channels_last else images.permute(0, 2, 3, 1)
            images, content = resize(255 * values if self.unit_floats else values, size, mode)
        if self.options.channels == "BGR":
            images = images.flip(1)
        normalised = self.preprocess.normalise(images)
        features = self.detector.encode(normalised)
        map_, whitened = self.map(features)
        smoothed = smooth(map_, self.smoothing)
        if self.options.preprocessing and mode == "pad":
            smoothed = hide_padding(smoothed, content, size)
        return Marked(smoothed, map_, normalised, tuple(features), whitened)

    def map(self, features: list[Tensor]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Map features, and take along what they are after whitening."""
        whitened: list[Tensor] = []
        hooks = [w.register_forward_hook(lambda *args: whitened.append(args[2])) for w in self.whitenings]
        try:
            return self.detector.anomaly_map(features), tuple(whitened)
        finally:
            for hook in hooks:
                hook.remove()


class Marked(NamedTuple):
    """Raw maps and what lies on the way to them, by which the parts of a graph are told apart.

    Args:
        map: Smoothed raw map, (B, 1, H, W).
        unsmoothed: The map before smoothing, where the flow's part ends.
        normalised: The encoder's input.
        features: The encoder's output.
        whitened: Features after whitening; empty where there is none.
    """

    map: Tensor
    unsmoothed: Tensor
    normalised: Tensor
    features: tuple[Tensor, ...]
    whitened: tuple[Tensor, ...]


class Decisions(NamedTuple):
    """What a deployed graph answers.

    Args:
        pred_score: Normalised image scores, 0.5 at the threshold, (B,).
        pred_label: 1 where an image is anomalous, (B,), int32.
        anomaly_map: Normalised maps, 0.5 at the pixel threshold, (B, 1, H, W).
        pred_mask: 1 where a pixel is anomalous, (B, 1, H, W), uint8.
        raw_score: Image scores as ``predict`` writes them, (B,).
    """

    pred_score: Tensor
    pred_label: Tensor
    anomaly_map: Tensor
    pred_mask: Tensor
    raw_score: Tensor


class Decision(nn.Module):
    """From raw maps to decisions, as :class:`~anomalib_flows.models.postprocess.Postprocess` makes them.

    Args:
        postprocess: Calibrated constants.
    """

    def __init__(self, postprocess: Postprocess) -> None:
        super().__init__()
        self.postprocess = postprocess

    def forward(self, maps: Tensor) -> Decisions:
        """Decide on raw maps (B, 1, H, W)."""
        # Devices overlook what is not a number in maxima, and bound it to 0.
        unknown = maps.isnan().flatten(1).any(1)
        raw = torch.where(unknown, torch.nan, self.postprocess.scores(maps))
        return Decisions(
            pred_score=torch.where(unknown, torch.nan, self.postprocess.normalise_scores(raw)),
            pred_label=self.postprocess.labels(raw).to(torch.int32),
            anomaly_map=self.postprocess.normalise(maps),
            pred_mask=self.postprocess.masks(maps).to(torch.uint8),
            raw_score=raw,
        )
