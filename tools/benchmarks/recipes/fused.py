"""FastFlow whose feature maps are transformed given each other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anomalib_flows.models.base import Detector, Features
from anomalib_flows.models.fastflow import FastFlow


class Fused(FastFlow):
    """FastFlow that transforms each map, after its own flow, given the transformed other maps.

    References:
        MSFlow: Multi-Scale Flow-based Framework for Unsupervised Anomaly Detection (Zhou et al., 2023),
        https://arxiv.org/abs/2308.15300, section III-C. There, halves of the channels are exchanged; here, each map in
        turn is scaled and shifted by the others.
    """

    fusions: Any

    def transform(self, features: Features) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield z and the log-determinant of each feature map."""
        transformed = list(super().transform(features))
        for own, fusion in enumerate(self.fusions):
            z, log_det = transformed[own]
            others = [resized(other, z) for i, (other, _) in enumerate(transformed) if i != own]
            z, log_scale = fusion(z, torch.cat(others, 1))
            transformed[own] = z, log_det + log_scale.float().flatten(1).sum(1)
        yield from transformed

    def optimizer(self) -> torch.optim.Optimizer:
        """Return Adam on all trained parameters."""
        trained = [p for p in self.parameters() if p.requires_grad]
        return torch.optim.Adam(trained, lr=self.learning_rate, weight_decay=self.weight_decay)


def fuse(detector: Detector) -> None:
    """Turn a FastFlow into a :class:`Fused`, with the same maps before training."""
    fused: Any = detector
    fused.__class__ = Fused
    channels = [shape[0] for shape in fused.shapes]
    fused.fusions = nn.ModuleList(ConditionalAffine(c, sum(channels) - c) for c in channels)


class ConditionalAffine(nn.Module):
    """Scale and shift a map by a small network of the other maps; the identity before training."""

    HIDDEN, CLAMP = 64, 0.5

    def __init__(self, channels: int, others: int) -> None:
        super().__init__()
        last = nn.Conv2d(self.HIDDEN, 2 * channels, 3, padding=1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)  # type: ignore[arg-type]  # it has one
        self.network = nn.Sequential(nn.Conv2d(others, self.HIDDEN, 3, padding=1), nn.ReLU(), last)

    def forward(self, z: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
        """Return the map and its log-scales, both (B, C, h, w)."""
        a, t = self.network(others).chunk(2, dim=1)
        s = self.CLAMP * torch.tanh(a)
        return z * s.exp() + t, s


def resized(z: Tensor, like: Tensor) -> Tensor:
    """Resize a map to the height and width of another one, by means of regions or by interpolation."""
    if z.shape[-1] > like.shape[-1]:
        return F.adaptive_avg_pool2d(z, like.shape[-2:])
    return F.interpolate(z, like.shape[-2:], mode="bilinear")
