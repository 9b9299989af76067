"""Upsampling of maps to the size of the image."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from anomalib_flows.core.types import ImageSize

Upsampling = Literal["bilinear", "bilinear-aligned", "bicubic", "nearest"]
"""Interpolation; ``bilinear-aligned`` aligns the centres of the outer pixels (PyTorch's ``align_corners``)."""


class Upsample(nn.Module):
    """Upsample maps."""

    def __init__(self, size: ImageSize, mode: Upsampling) -> None:
        super().__init__()
        self.size, self.mode = size, mode

    def forward(self, maps: Tensor) -> Tensor:
        """Upsample maps of shape (B, M, h, w) to (B, M, H, W)."""
        if self.mode == "nearest":
            return F.interpolate(maps, self.size, mode="nearest-exact")
        interpolation, _, aligned = self.mode.partition("-")
        return F.interpolate(maps, self.size, mode=interpolation, align_corners=bool(aligned))
