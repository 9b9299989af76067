"""The pipeline as modules that can be traced: resized pixels to raw maps, and raw maps to decisions."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from anomalib_flows.models.heatmap import smooth
from anomalib_flows.models.pipeline import Pipeline
from anomalib_flows.models.postprocess import Postprocess
from anomalib_flows.models.whitening import Whitening


class Network(nn.Module):
    """From resized images to raw maps.

    Where features leave the encoder, where they leave the whitening and where they have become a map is
    marked, so that the parts of the graph can be told apart however it is rewritten.

    Args:
        pipeline: What is deployed.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        super().__init__()
        self.preprocess, self.smoothing = pipeline.preprocess, pipeline.heatmap.smoothing
        self.detector = pipeline.detector.deployable()
        self.whitenings = [module for module in self.detector.modules() if isinstance(module, Whitening)]

    def forward(self, images: Tensor) -> Marked:
        """Map images of the right size, RGB values 0 to 255 of shape (B, 3, H, W)."""
        normalised = self.preprocess.normalise(images)
        features = self.detector.encode(normalised)
        whitened: list[Tensor] = []
        hooks = [w.register_forward_hook(lambda *args: whitened.append(args[2])) for w in self.whitenings]
        try:
            map_ = self.detector.anomaly_map(features)
        finally:
            for hook in hooks:
                hook.remove()
        return Marked(smooth(map_, self.smoothing), map_, normalised, tuple(features), tuple(whitened))


class Marked(NamedTuple):
    """A raw map and what lies on the way to it.

    Args:
        map: Smoothed raw map, (B, 1, H, W).
        unsmoothed: The map before smoothing.
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
        raw = self.postprocess.scores(maps)
        return Decisions(
            pred_score=self.postprocess.normalise_scores(raw),
            pred_label=self.postprocess.labels(raw).to(torch.int32),
            anomaly_map=self.postprocess.normalise(maps),
            pred_mask=self.postprocess.masks(maps).to(torch.uint8),
            raw_score=raw,
        )
