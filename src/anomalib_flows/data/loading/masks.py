"""Resize masks without losing a defect."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from anomalib_flows.core.types import ImageSize

EIGHT_NEIGHBOURS = np.ones((3, 3))


def resize_mask(mask: Tensor, inner: ImageSize, size: ImageSize) -> Tensor:
    """Resize a boolean mask (h, w) to ``inner`` by nearest neighbour, and pad it with False to ``size``.

    Each region of the mask keeps a pixel: one that lies between all sampled pixels is marked where its centre is.
    """
    pixels = F.interpolate(mask[None, None].to(torch.uint8), inner, mode="nearest-exact")[0, 0].bool()
    if mask.any() and (inner[0] < mask.shape[0] or inner[1] < mask.shape[1]):
        rows, columns = lost_regions(mask, inner)
        pixels[rows, columns] = True
    return F.pad(pixels, (0, size[1] - inner[1], 0, size[0] - inner[0]))


def lost_regions(mask: Tensor, inner: ImageSize) -> tuple[Tensor, Tensor]:
    """Return the rows and columns, within ``inner``, of the regions that resizing to it loses."""
    regions, count = ndimage.label(mask.numpy(), EIGHT_NEIGHBOURS)
    sampled = F.interpolate(torch.from_numpy(regions)[None, None].double(), inner, mode="nearest-exact")
    lost = np.setdiff1d(np.arange(1, count + 1), sampled.numpy())
    centres = np.array(ndimage.center_of_mass(mask.numpy(), regions, lost)).reshape(-1, 2)
    places = (centres + 0.5) * (np.array(inner) / mask.shape)
    rows, columns = torch.from_numpy(places.astype(np.int64)).unbind(1)
    return rows, columns
