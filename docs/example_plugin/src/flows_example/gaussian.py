"""The simplest flow: shift and scale every feature at every position, so that it becomes standard normal."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anomalib_flows.core.types import ImageSize
from anomalib_flows.encoders.encoder import Encoder
from anomalib_flows.encoders.weights import Weights
from anomalib_flows.flows import Bijection, Condition
from anomalib_flows.models.base import Detector, Features


class Standardise(Bijection):
    r"""Standardise each channel at each position, :math:`z = (x - \mu) / \sigma`.

    Args:
        shape: Channels C, height h and width w of x.
    """

    def __init__(self, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(shape))
        self.log_std = nn.Parameter(torch.zeros(shape))

    def forward(self, x: Tensor, condition: Condition | None = None) -> tuple[Tensor, Tensor]:
        """Return z of shape (B, C, h, w) and the log-determinant of shape (B,)."""
        return (x - self.mean) * torch.exp(-self.log_std), -self.log_std.sum().expand(len(x))

    def inverse(self, z: Tensor, condition: Condition | None = None) -> tuple[Tensor, Tensor]:
        """Return x and the log-determinant of z -> x."""
        return z * torch.exp(self.log_std) + self.mean, self.log_std.sum().expand(len(z))


class Gaussian(Detector):
    r"""Learn a Gaussian of each channel at each position of a frozen encoder's feature maps.

    Good where the product always lies the same way. The anomaly map is the mean of :math:`z^2` over channels
    and feature maps: what PaDiM does, with the correlations of the channels left out, learned as a flow.

    Args:
        image_size: Height H and width W of the images.
        backbone: Name of a model of timm, see ``anomalib-flows list backbones``.
        weights: ``pretrained``, ``random``, or a file with a state dict of that model.
        learning_rate: Step size of Adam.

    References:
        PaDiM: a Patch Distribution Modeling Framework for Anomaly Detection and Localization
        (Defard et al., 2021), https://arxiv.org/abs/2011.08785, section 3.
    """

    def __init__(
        self,
        image_size: ImageSize,
        backbone: str = "tf_efficientnet_lite0",
        weights: Weights = "pretrained",
        learning_rate: float = 0.02,
    ) -> None:
        super().__init__()
        self.encoder = Encoder(image_size, backbone, weights)
        self.mean, self.std = self.encoder.mean, self.encoder.std
        self.flows = nn.ModuleList(Standardise(shape) for shape in self.encoder.shapes)
        self.learning_rate = learning_rate

    def encode(self, images: Tensor) -> Features:
        """Return the encoder's feature maps of normalised images (B, 3, H, W)."""
        features: Features = self.encoder(images)
        return features

    def loss(self, batch: Features) -> Tensor:
        """Return the negative log-likelihood, up to a constant, of features; mean over B, sum over maps."""
        pairs = [flow(x) for flow, x in zip(self.flows, batch, strict=True)]
        losses = [(0.5 * z.square().flatten(1).sum(1) - log_det).mean() for z, log_det in pairs]
        return torch.stack(losses).sum()

    def anomaly_map(self, features: Features) -> Tensor:
        """Return maps of shape (B, 1, H, W), higher = more anomalous, each image by itself."""
        pairs = zip(self.flows, features, strict=True)
        maps = [flow(x)[0].square().mean(1, keepdim=True) for flow, x in pairs]
        upsampled = [F.interpolate(m, self.image_size, mode="bilinear", align_corners=False) for m in maps]
        return torch.stack(upsampled).mean(0)

    def optimizer(self) -> torch.optim.Optimizer:
        """Return Adam on the flows; without this method it would be Adam with a step size of 0.001."""
        return torch.optim.Adam(self.flows.parameters(), lr=self.learning_rate)
