"""The pipeline as modules that can be traced, and as a program of ``torch.export``."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from anomalib_flows.core.errors import InputError, first_line
from anomalib_flows.core.types import ImageSize
from anomalib_flows.export.folding import deployable
from anomalib_flows.export.options import InputOptions
from anomalib_flows.export.resizing import traced_hide_padding, traced_resize
from anomalib_flows.models.components.whitening import Whitening
from anomalib_flows.models.pipeline import Pipeline
from anomalib_flows.models.postprocess import Postprocess, smooth

MAX_SIDE = 16384
"""Largest height and width of the images that an exported program accepts."""


class NetworkOutput(NamedTuple):
    """Raw maps, and the intermediate results that separate the parts of a graph.

    Args:
        maps: Smoothed raw maps of shape (B, M, H, W). The first map is shown, the last one scores the image.
        unsmoothed: The maps before smoothing, the end of the flow's part.
        normalised: Input of the encoder.
        features: Output of the encoder.
        whitened: Features after whitening; empty for models without it.
    """

    maps: Tensor
    unsmoothed: Tensor
    normalised: Tensor
    features: tuple[Tensor, ...]
    whitened: tuple[Tensor, ...]


class Network(nn.Module):
    """From images to raw maps.

    Args:
        pipeline: The trained pipeline.
        options: The input.
        unit_floats: Whether images are floats from 0 to 1 in NCHW, as anomalib passes them.
        shown_only: Whether it returns the shown map only, for readers that score an image by it.
    """

    def __init__(
        self, pipeline: Pipeline, options: InputOptions, *, unit_floats: bool = False, shown_only: bool = False
    ) -> None:
        super().__init__()
        self.options, self.unit_floats, self.shown_only = options, unit_floats, shown_only
        self.preprocess, self.smoothing = pipeline.preprocess, pipeline.heatmap.smoothing
        self.detector = deployable(pipeline.detector)
        self.whitenings = [module for module in self.detector.modules() if isinstance(module, Whitening)]

    @property
    def channels_last(self) -> bool:
        """Whether the colours are the last axis of the input."""
        return self.options.preprocessing and self.options.layout == "NHWC" and not self.unit_floats

    @property
    def input_size(self) -> ImageSize:
        """Height and width of the input; -1 for any."""
        return (self.options.fixed_size or (-1, -1)) if self.options.preprocessing else self.preprocess.size

    def example(self) -> Tensor:
        """Return an input for tracing, whose dynamic axes have lengths that occur nowhere else."""
        batch, (height, width) = self.options.batch or 2, self.preprocess.size
        if self.options.preprocessing:
            height, width = self.options.fixed_size or (height + 1, width + 2)
        shape = (batch, height, width, 3) if self.channels_last else (batch, 3, height, width)
        if self.unit_floats or not self.options.preprocessing:
            return torch.rand(shape)
        return torch.randint(256, shape, dtype=torch.uint8)

    def forward(self, images: Tensor) -> NetworkOutput:
        """Return raw maps of a batch of images, in the form that the options describe."""
        size, mode = self.preprocess.size, self.preprocess.mode
        if self.options.preprocessing:
            values = images if self.channels_last else images.permute(0, 2, 3, 1)
            images, content = traced_resize(255 * values if self.unit_floats else values, size, mode)
        if self.options.channels == "BGR":
            images = images.flip(1)
        normalised = self.preprocess.normalise(images)
        features = self.detector.encode(normalised)
        unsmoothed, whitened = self.anomaly_maps(features)
        maps = smooth(unsmoothed, self.smoothing)
        if self.options.preprocessing and mode == "pad":
            maps = traced_hide_padding(maps, content, size)
        return NetworkOutput(maps, unsmoothed, normalised, tuple(features), whitened)

    def anomaly_maps(self, features: list[Tensor]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the raw maps (B, M, H, W) of features, and the features after whitening."""
        whitened: list[Tensor] = []
        hooks = [w.register_forward_hook(lambda *args: whitened.append(args[2])) for w in self.whitenings]
        try:
            return self.exported_maps(self.detector.anomaly_map(features)), tuple(whitened)
        finally:
            for hook in hooks:
                hook.remove()

    def exported_maps(self, maps: Tensor) -> Tensor:
        """Return the maps that the file contains, of all maps (B, M, H, W)."""
        return maps[:, :1] if self.shown_only else maps


class GraphOutputs(NamedTuple):
    """Outputs of an exported model.

    Args:
        pred_score: Normalised image scores, 0.5 at the threshold, (B,).
        pred_label: 1 for anomalous images, (B,), int32.
        anomaly_map: Normalised maps, 0.5 at the pixel threshold, (B, 1, H, W).
        pred_mask: 1 for anomalous pixels, (B, 1, H, W), uint8.
        raw_score: Image scores before normalisation, (B,).
    """

    pred_score: Tensor
    pred_label: Tensor
    anomaly_map: Tensor
    pred_mask: Tensor
    raw_score: Tensor


class DecisionHead(nn.Module):
    """From raw maps to decisions, as :class:`~anomalib_flows.models.postprocess.Postprocess` makes them."""

    def __init__(self, postprocess: Postprocess) -> None:
        super().__init__()
        self.postprocess = postprocess

    def forward(self, maps: Tensor) -> GraphOutputs:
        """Decide on raw maps (B, M, H, W)."""
        # Devices skip NaN in maxima, and clip it to 0.
        invalid = maps[:, -1:].isnan().flatten(1).any(1)
        raw = torch.where(invalid, torch.nan, self.postprocess.scores(maps))
        return GraphOutputs(
            pred_score=torch.where(invalid, torch.nan, self.postprocess.normalise_scores(raw)),
            pred_label=self.postprocess.labels(raw).to(torch.int32),
            anomaly_map=self.postprocess.normalise(maps[:, :1]),
            pred_mask=self.postprocess.masks(maps).to(torch.uint8),
            raw_score=raw,
        )


class DeployedPipeline(nn.Module):
    """From images to decisions."""

    def __init__(self, network: Network, postprocess: Postprocess) -> None:
        super().__init__()
        self.network, self.decision = network, DecisionHead(postprocess)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return the fields of :class:`~anomalib_flows.export.network.GraphOutputs` for a batch of images."""
        return tuple(self.decision(self.network(image).maps))


def export_program(network: Network, postprocess: Postprocess) -> Any:
    """Export a pipeline by ``torch.export``."""
    deployed = DeployedPipeline(network, postprocess).eval()
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.export.export(deployed, (network.example(),), dynamic_shapes=dynamic_shapes(network))
    except Exception as error:  # the code of a plug-in may raise anything
        raise InputError(f"This model cannot be exported by torch.export: {first_line(error)}") from error


def dynamic_shapes(network: Network) -> tuple[dict[int, Any]]:
    """Return the dynamic axes of the input, by number."""
    axes: dict[int, Any] = {}
    if network.options.batch == 0:
        axes[0] = torch.export.Dim("batch", min=1, max=1024)
    first = 1 if network.channels_last else 2
    for axis, side, name in zip((first, first + 1), network.input_size, ("height", "width"), strict=True):
        if side == -1:
            axes[axis] = torch.export.Dim(name, min=2, max=MAX_SIDE)
    return (axes,)
