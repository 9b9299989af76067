"""Scores: ways to compute anomaly maps from features."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from anomalib_flows.models.base import Detector, Features

QUANTILES = 100_000
"""Limit of the normal values that p-values are computed from."""


@dataclass(frozen=True)
class Score:
    """A way to compute anomaly maps.

    Args:
        maps: Returns the maps of each layer, or those of the model, from a detector's features.
        combine: Returns one map from the maps of held-out normal images and those of the test images.
    """

    maps: Callable[[Detector, Features], list[Tensor]]
    combine: Callable[[list[Tensor], list[Tensor]], Tensor] = lambda _normal, maps: maps[0]


def ours(detector: Detector, features: Features) -> list[Tensor]:
    """Return the maps of the model."""
    return [detector.anomaly_map(features)]


def energies(detector: Any, features: Features) -> list[Tensor]:
    """Return half the mean square of FastFlow's z for each layer, upsampled."""
    maps = detector.scaled(detector.energies(features))
    return [F.interpolate(m, detector.image_size, mode="bilinear") for m in maps]


def standardised(normal: list[Tensor], maps: list[Tensor]) -> Tensor:
    """Return the sum of the layers, each in units of its deviation on held-out normal images."""
    return sum(((m - n.mean()) / n.std() for n, m in zip(normal, maps, strict=True)), torch.zeros(()))


def by_position(normal: list[Tensor], maps: list[Tensor]) -> Tensor:
    """Return the map with each position in units of its own deviation on held-out normal images."""
    n, m = normal[0], maps[0]
    return (m - n.mean(0)) / (n.std(0, correction=0) + 0.1 * n.std((0, 2, 3), keepdim=True)[0])


def p_values(normal: list[Tensor], maps: list[Tensor]) -> Tensor:
    """Return the sum over layers of minus log p, with p from the values of held-out normal images."""
    total = torch.zeros(())
    for n, m in zip(normal, maps, strict=True):
        ordered = n.flatten()[:: max(1, n.numel() // QUANTILES)].sort().values
        above = len(ordered) - torch.searchsorted(ordered, m.contiguous())
        total = total - ((above + 1) / (len(ordered) + 1)).log()
    return total


SCORES = {
    "ours": Score(ours),
    "by position": Score(ours, by_position),
    "energy": Score(energies, lambda _normal, maps: torch.stack(maps).sum(0)),
    "energy, standardised": Score(energies, standardised),
    "p-values": Score(energies, p_values),
}
