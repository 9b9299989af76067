"""Resize masks without losing a defect."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from anomalib_flows.core.types import ImageSize

EIGHT_NEIGHBOURS = np.ones((3, 3))


def resize_mask(mask: Tensor, inner: ImageSize, size: ImageSize) -> Tensor:
    """Resize a boolean mask (h, w) to ``inner`` by nearest neighbour, and pad it with False to ``size``.

    Each region of the mask keeps a pixel: one that lies between all sampled pixels is marked at the centre of its box.
    """
    rows, columns = (nearest(before, after) for before, after in zip(mask.shape, inner, strict=True))
    pixels = mask[rows[:, None], columns]
    if inner[0] < mask.shape[0] or inner[1] < mask.shape[1]:
        for row, column in lost_regions(mask, rows, columns):
            pixels[int(row * inner[0] / mask.shape[0]), int(column * inner[1] / mask.shape[1])] = True
    return F.pad(pixels, (0, size[1] - inner[1], 0, size[0] - inner[0]))


def nearest(before: int, after: int) -> Tensor:
    """Return the places that resizing ``before`` pixels to ``after`` by nearest neighbour takes."""
    places = torch.arange(before, dtype=torch.float64)
    return F.interpolate(places[None, None], after, mode="nearest-exact")[0, 0].long()


def lost_regions(mask: Tensor, rows: Tensor, columns: Tensor) -> list[tuple[float, float]]:
    """Return the centres of the regions of a mask of which no sampled pixel is a part."""
    from scipy import ndimage  # takes long to import, and is needed where there are defects

    regions, count = ndimage.label(mask.numpy(), EIGHT_NEIGHBOURS)
    lost = np.setdiff1d(np.arange(1, count + 1), regions[np.ix_(rows.numpy(), columns.numpy())])
    boxes = ndimage.find_objects(regions) if len(lost) else []
    return [
        ((box[0].start + box[0].stop) / 2, (box[1].start + box[1].stop) / 2) for box in (boxes[i - 1] for i in lost)
    ]
