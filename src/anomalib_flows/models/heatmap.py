"""Smoothing of raw anomaly maps, and image scores."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def smooth(maps: Tensor, sigma: float) -> Tensor:
    """Convolve each map of a batch (B, M, H, W) with a Gaussian that is cut off at four standard deviations.

    Maps are padded with the values at their border.
    """
    if sigma == 0:
        return maps
    radius = int(4 * sigma + 0.5)
    offsets = torch.arange(-radius, radius + 1, dtype=maps.dtype, device=maps.device)
    kernel = torch.softmax(-0.5 * (offsets / sigma) ** 2, dim=0)
    count = int(maps.shape[1])  # a constant in traced graphs
    rows, columns = kernel.view(1, 1, -1, 1).expand(count, 1, -1, 1), kernel.view(1, 1, 1, -1).expand(count, 1, 1, -1)
    maps = F.conv2d(F.pad(maps, (0, 0, radius, radius), mode="replicate"), rows, groups=count)
    return F.conv2d(F.pad(maps, (radius, radius, 0, 0), mode="replicate"), columns, groups=count)


def image_scores(maps: Tensor, top_percent: float) -> Tensor:
    """Return the maximum of each map, or the mean of its highest values: (B, 1, H, W) -> (B,)."""
    values = maps.flatten(1)
    if top_percent == 0:
        return values.amax(1)
    count = max(1, math.floor(values.shape[1] * top_percent / 100))
    return values.topk(count, sorted=False).values.mean(1)
