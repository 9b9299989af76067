"""From an image's pixels to the network's input: the one implementation, used in training and everywhere else."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anomalib_flows.core.types import ImageSize, ResizeMode, content_size

STRIP = 2**18
"""Pixels of an image that are converted to floats at once."""


def resize(images: Tensor, size: ImageSize, mode: ResizeMode = "stretch") -> Tensor:
    """Resize with antialiasing, in floating point.

    Pillow rounds to whole grey levels, which an exported graph cannot repeat; this does not.

    Args:
        images: RGB values from 0 to 255, of shape (B, 3, h, w) or (3, h, w).
        size: The new height H and width W.
        mode: ``stretch``, or ``pad``: keep the aspect ratio and repeat the lower and right border.

    Returns:
        Values from 0 to 255, of shape (B, 3, H, W) or (3, H, W) and type float32.
    """
    batch = images.reshape(-1, *images.shape[-3:])
    inner = content_size(images.shape[-2], images.shape[-1], size, mode)
    rows = max(1, STRIP // images.shape[-1])
    if rows < images.shape[-2] and images.device.type == "cpu":
        # There torch shrinks rows first, each by itself: strips give the same values, in less memory and time.
        strips = torch.split(batch, rows, dim=-2)
        batch = torch.cat([_interpolated(strip, (strip.shape[-2], inner[1])) for strip in strips], dim=-2)
    batch = _interpolated(batch, inner)
    batch = F.pad(batch, (0, size[1] - inner[1], 0, size[0] - inner[0]), mode="replicate")
    return batch.reshape(*images.shape[:-2], *size)


def _interpolated(images: Tensor, size: ImageSize) -> Tensor:
    """Resize images (B, 3, h, w), in float32."""
    return F.interpolate(images.float(), size, mode="bilinear", align_corners=False, antialias=True)


class Preprocess(nn.Module):
    """Resize images and normalise them as the encoder expects: ``(x / 255 - mean) / std``.

    Args:
        size: Height and width of the network's input.
        mode: ``stretch`` or ``pad``, see :func:`resize`.
        mean: Mean of each channel, of values in [0, 1].
        std: Standard deviation of each channel, of values in [0, 1].
    """

    mean: Tensor
    std: Tensor

    def __init__(self, size: ImageSize, mode: ResizeMode, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.size, self.mode = size, mode
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1), persistent=False)

    def resize(self, images: Tensor) -> Tensor:
        """Resize images of shape (B, 3, h, w) to (B, 3, H, W)."""
        return resize(images, self.size, self.mode)

    def normalise(self, images: Tensor) -> Tensor:
        """Normalise images that have the right size already, of shape (B, 3, H, W)."""
        return (images / 255 - self.mean) / self.std

    def forward(self, images: Tensor) -> Tensor:
        """Resize and normalise images of shape (B, 3, h, w) with values from 0 to 255."""
        return self.normalise(self.resize(images))
