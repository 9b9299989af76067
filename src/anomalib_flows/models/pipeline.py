"""Everything that decides, from an image's pixels to its label, in one module."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from anomalib_flows.core.geometry import ResizeMode, content_size
from anomalib_flows.core.preprocess import Preprocess
from anomalib_flows.core.types import ImageSize, Prediction, Protocol
from anomalib_flows.models.base import Detector, Features
from anomalib_flows.models.components.local_scale import LocalScale
from anomalib_flows.models.components.whitening import Whitening
from anomalib_flows.models.heatmap import smooth
from anomalib_flows.models.postprocess import Postprocess
from anomalib_flows.run.options import HeatmapOptions


class Pipeline(nn.Module):
    """Preprocess an image, map its anomalies and decide; the same in training, testing and prediction.

    Args:
        detector: The model, which knows the image size and the normalisation that it expects.
        resize: ``stretch`` or ``pad``, see :func:`anomalib_flows.core.preprocess.resize`.
        heatmap: What is made of raw maps.

    Attributes:
        protocol: What the constants and thresholds were set on.

    Example:
        >>> import torch
        >>> from anomalib_flows.models.fastflow import FastFlow
        >>> pipeline = Pipeline(FastFlow((64, 64), weights="random", steps=1)).eval()
        >>> pipeline(torch.randint(256, (1, 3, 100, 80), dtype=torch.uint8)).maps.shape
        torch.Size([1, 1, 64, 64])
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
        self.postprocess = Postprocess(top_percent=heatmap.top_percent)

    @torch.no_grad()  # a decision is never trained on; training goes through the detector
    def forward(self, images: Tensor) -> Prediction:
        """Judge RGB images of one size, values 0 to 255, of shape (B, 3, h, w)."""
        content = content_size(images.shape[-2], images.shape[-1], self.preprocess.size, self.preprocess.mode)
        maps = hide_padding(self.maps(self.preprocess.resize(images)), [content] * len(images))
        prediction: Prediction = self.postprocess(maps)
        return prediction

    def bfloat16(self) -> Pipeline:
        """Compute features and flows in bfloat16 from now on; constants, maps and decisions stay in float32."""
        for part in self.detector.children():
            if not any(isinstance(module, Whitening | LocalScale) for module in part.modules()):
                part.bfloat16()
        return self

    def features(self, resized: Tensor) -> Features:
        """Features of images that have the right size already, (B, 3, H, W)."""
        dtype = next((p.dtype for p in self.detector.parameters()), resized.dtype)
        return self.detector.encode(self.preprocess.normalise(resized).to(dtype))

    def maps(self, resized: Tensor) -> Tensor:
        """Raw anomaly maps of images that have the right size already: (B, 3, H, W) -> (B, 1, H, W)."""
        return self.maps_of(self.features(resized))

    def maps_of(self, features: Features) -> Tensor:
        """Raw anomaly maps of features: (B, 1, H, W)."""
        return smooth(self.detector.anomaly_map(features).float(), self.heatmap.smoothing)


def hide_padding(maps: Tensor, contents: list[ImageSize]) -> Tensor:
    """Give the padding of each map the lowest value of its content, so that nothing is decided there.

    Args:
        maps: Raw maps of shape (B, 1, H, W).
        contents: For each image the height and width of its own pixels.
    """
    if all(content == maps.shape[-2:] for content in contents):
        return maps
    hidden = maps.clone()
    for map_, (height, width) in zip(hidden, contents, strict=True):
        lowest = map_[:, :height, :width].amin()
        map_[:, height:] = lowest
        map_[:, :, width:] = lowest
    return hidden
