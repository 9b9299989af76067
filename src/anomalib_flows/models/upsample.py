"""Feature maps of likelihoods become maps of the image's size."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from anomalib_flows.types import ImageSize

Upsampling = Literal["bilinear", "bilinear-aligned", "bicubic", "nearest"]
"""``bilinear-aligned`` puts the outer pixels' centres upon each other (PyTorch's ``align_corners``)."""


def upsample(maps: Tensor, size: ImageSize, mode: Upsampling) -> Tensor:
    """Upsample maps of shape (B, 1, h, w) to (B, 1, H, W).

    Example:
        >>> import torch
        >>> upsample(torch.tensor([[[[0.0, 1.0]]]]), (1, 3), "bilinear-aligned").tolist()
        [[[[0.0, 0.5, 1.0]]]]
    """
    if mode == "nearest":
        return F.interpolate(maps, size, mode="nearest-exact")
    interpolation, _, aligned = mode.partition("-")
    return F.interpolate(maps, size, mode=interpolation, align_corners=bool(aligned))
