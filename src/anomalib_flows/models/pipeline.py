"""The whole model in one module, from an image's pixels to its label."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from anomalib_flows.core.preprocess import Preprocess
from anomalib_flows.core.types import ImageSize, Prediction, Protocol, ResizeMode, ThresholdSource, content_size
from anomalib_flows.models.base import Detector, Features
from anomalib_flows.models.components.local_scale import LocalScale
from anomalib_flows.models.components.whitening import Whitening
from anomalib_flows.models.postprocess import Postprocess, smooth
from anomalib_flows.run.options import HeatmapOptions


class Pipeline(nn.Module):
    """Preprocess images, compute anomaly maps and decide: the same in training, testing and prediction.

    Args:
        detector: The model, with the image size and the normalisation that it expects.
        resize: ``stretch`` or ``pad``, see :func:`anomalib_flows.core.preprocess.resize`.
        heatmap: How raw maps are smoothed and become scores.

    Attributes:
        protocol: Kind of images that the constants and thresholds were set on.
        threshold_source: What set the image threshold.

    Example:
        >>> import torch
        >>> from anomalib_flows.models.fastflow import FastFlow
        >>> pipeline = Pipeline(FastFlow((64, 64), weights="random", steps=1)).eval()
        >>> pipeline(torch.randint(256, (1, 3, 100, 80), dtype=torch.uint8)).maps.shape
        torch.Size([1, 2, 64, 64])
    """

    def __init__(
        self,
        detector: Detector,
        resize: ResizeMode = "stretch",
        heatmap: HeatmapOptions = HeatmapOptions(),  # noqa: B008 (frozen)
    ) -> None:
        super().__init__()
        self.preprocess = Preprocess(detector.image_size, resize, detector.mean, detector.std)
        self.detector = detector
        self.heatmap = heatmap
        self.protocol: Protocol = "calibrated"
        self.threshold_source: ThresholdSource = "false-alarm-rate"
        self.postprocess = Postprocess(top_percent=heatmap.top_percent)

    @torch.no_grad()  # training uses the detector alone
    def forward(self, images: Tensor) -> Prediction:
        """Predict for RGB images of one size, values from 0 to 255, of shape (B, 3, h, w)."""
        content = content_size(images.shape[-2], images.shape[-1], self.preprocess.size, self.preprocess.mode)
        maps = hide_padding(self.maps(self.preprocess.resize(images)), [content] * len(images))
        prediction: Prediction = self.postprocess(maps)
        return prediction

    def bfloat16(self) -> Pipeline:
        """Convert encoder and flows to bfloat16, in place; constants, maps and decisions stay in float32."""
        for part in self.detector.children():
            if not any(isinstance(module, Whitening | LocalScale) for module in part.modules()):
                part.bfloat16()
        return self

    def features(self, resized: Tensor) -> Features:
        """Return the features of images that have the right size already, (B, 3, H, W)."""
        dtype = next((p.dtype for p in self.detector.parameters()), resized.dtype)
        return self.detector.encode(self.preprocess.normalise(resized).to(dtype))

    def maps(self, resized: Tensor) -> Tensor:
        """Return raw anomaly maps of images that have the right size already: (B, 3, H, W) -> (B, M, H, W)."""
        return self.maps_of(self.features(resized))

    def maps_of(self, features: Features) -> Tensor:
        """Return raw anomaly maps of features, (B, M, H, W)."""
        return smooth(self.detector.anomaly_map(features).float(), self.heatmap.smoothing)


def hide_padding(maps: Tensor, contents: list[ImageSize]) -> Tensor:
    """Set the padding of maps (B, M, H, W) to the lowest value of their contents (h, w), so that it decides nothing."""
    if all(content == maps.shape[-2:] for content in contents):
        return maps
    hidden = maps.clone()
    for of_image, (height, width) in zip(hidden, contents, strict=True):
        lowest = of_image[:, :height, :width].amin((1, 2))[:, None, None]
        of_image[:, height:] = lowest
        of_image[:, :, width:] = lowest
    return hidden
