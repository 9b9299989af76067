"""Random changes of training images."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def rotate(images: Tensor, degrees: float) -> Tensor:
    """Turn each image about its centre by a random angle; nearest pixels, and black where there are none.

    Args:
        images: Images of shape (B, 3, H, W).
        degrees: Largest angle; 0 returns the images as they are.

    References:
        The training of CFLOW as published, https://github.com/gudovskiy/cflow-ad: 5 degrees.
    """
    if degrees == 0:
        return images
    return turn(images, torch.empty(len(images)).uniform_(-degrees, degrees).to(images.device))


def turn(images: Tensor, degrees: Tensor) -> Tensor:
    """Turn images (B, 3, H, W) counter-clockwise by angles (B,)."""
    height, width = images.shape[-2:]
    cos, sin = degrees.deg2rad().cos(), degrees.deg2rad().sin()
    zero = torch.zeros_like(cos)
    # From places in the result to places in the image, in units of half the width and half the height.
    rows = [torch.stack([cos, -sin * height / width, zero], 1), torch.stack([sin * width / height, cos, zero], 1)]
    grid = F.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="nearest", align_corners=False)
