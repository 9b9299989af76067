"""Everything that decides, from an image's pixels to its label, in one module."""

from __future__ import annotations

from torch import Tensor, nn

from anomalib_flows.models.base import Detector
from anomalib_flows.models.postprocess import Postprocess
from anomalib_flows.preprocess import Preprocess, ResizeMode
from anomalib_flows.types import Prediction


class Pipeline(nn.Module):
    """Preprocess an image, map its anomalies and decide; the same in training, testing and prediction.

    Args:
        detector: The model, which knows the image size and the normalisation that it expects.
        resize: ``stretch`` or ``pad``, see :func:`anomalib_flows.preprocess.resize`.

    Example:
        >>> import torch
        >>> from anomalib_flows.models.fastflow import FastFlow
        >>> pipeline = Pipeline(FastFlow((64, 64), weights="random", steps=1)).eval()
        >>> pipeline(torch.randint(256, (1, 3, 100, 80), dtype=torch.uint8)).maps.shape
        torch.Size([1, 1, 64, 64])
    """

    def __init__(self, detector: Detector, resize: ResizeMode = "stretch") -> None:
        super().__init__()
        self.preprocess = Preprocess(detector.image_size, resize, detector.mean, detector.std)
        self.detector = detector
        self.postprocess = Postprocess()

    def forward(self, images: Tensor) -> Prediction:
        """Judge RGB images of one size, values 0 to 255, of shape (B, 3, h, w)."""
        prediction: Prediction = self.postprocess(self.maps(self.preprocess.resize(images)))
        return prediction

    def maps(self, resized: Tensor) -> Tensor:
        """Raw anomaly maps of images that have the right size already: (B, 3, H, W) -> (B, 1, H, W)."""
        features = self.detector.encode(self.preprocess.normalise(resized))
        return self.detector.anomaly_map(features).float()
