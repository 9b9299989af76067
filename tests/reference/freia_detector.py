"""The same detector with its flows built from FrEIA, to be trained by our command beside ours.

PYTHONPATH=tests anomalib-flows train --model reference.freia_detector.FreiaDetector ...
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from anomalib_flows.core.types import ImageSize
from anomalib_flows.encoders import Triple
from anomalib_flows.encoders.encoder import Encoder
from anomalib_flows.encoders.weights import Weights
from anomalib_flows.models.base import Detector, Features
from reference.freia_fastflow import FreiaFastFlow


class FreiaDetector(Detector):
    """FastFlow of FrEIA's blocks.

    Args:
        image_size: Height and width of the images.
        backbone: Name of a model of timm.
        weights: ``pretrained``, ``random``, or a file.
        timm_args: Further arguments of ``timm.create_model``.
        mean: Mean of each channel.
        std: Standard deviation of each channel.
    """

    def __init__(
        self,
        image_size: ImageSize,
        backbone: str = "resnet18",
        weights: Weights = "pretrained",
        timm_args: dict[str, Any] | None = None,
        mean: Triple | None = None,
        std: Triple | None = None,
    ) -> None:
        super().__init__()
        self.encoder = Encoder(image_size, backbone, weights, None, timm_args, mean, std)
        self.mean, self.std = self.encoder.mean, self.encoder.std
        # FrEIA draws its permutations with numpy.
        np.random.seed(torch.initial_seed() % 2**32)  # noqa: NPY002
        self.fastflow = FreiaFastFlow(
            self.encoder, self.encoder.shapes, steps=8, kernel_sizes=(3,), hidden_ratio=1.0, clamp=2.0
        )

    def encode(self, images: Tensor) -> Features:
        return self.encoder(images)

    def loss(self, batch: Features) -> Tensor:
        return self.fastflow.loss(batch)

    def anomaly_map(self, features: Features) -> Tensor:
        return self.fastflow.anomaly_map(features, self.image_size)
