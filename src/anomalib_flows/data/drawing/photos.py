"""Draw synthetic defects on photos of good products, to compare settings where no real defects exist.

Metrics on synthetic defects rank settings; they do not predict the metrics on real defects.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from anomalib_flows.data.drawing.products import CANVAS, COLUMNS, ROWS, Array, box, noise, paint, step
from anomalib_flows.data.drawing.scene import VISIBLE, blob, by_name, crack, dent, place, scratch, stain
from anomalib_flows.data.loading.randomness import generator

SMALLEST = 40
"""Smallest number of pixels, of a canvas of 288 x 288, that a defect must change clearly."""
ATTEMPTS = 8
INNER = np.pad(np.ones((CANVAS - 8, CANVAS - 8, 1)), ((4, 4), (4, 4), (0, 0)))
"""Zero at the border, where warping wraps around."""


def pasted(rng: np.random.Generator, canvas: Array) -> Array:
    """Paste a piece of the product at another place, upside down."""
    (y, x), (far, aside) = place(rng), rng.uniform(0.2, 0.8, 2)
    moved = np.roll(canvas, (int(far * CANVAS), int(aside * CANVAS)), (0, 1))[::-1]
    height, width = rng.uniform(8, 26, 2)
    return paint(canvas, box(y, x, height, width, 2), moved)


def smeared(rng: np.random.Generator, canvas: Array) -> Array:
    """Remove the fine structure of a region, as if wiped or out of focus."""
    width = rng.uniform(3, 6)
    softened = ndimage.gaussian_filter(canvas, (width, width, 0))
    return paint(canvas, blob(rng, 14, 30, 6), softened)


def speck(rng: np.random.Generator, canvas: Array) -> Array:
    """Put a foreign object on the product, lighter than a dark product and darker than a light one."""
    (y, x), radius = place(rng), rng.uniform(4, 10)
    shape = step(radius * (1 + 0.35 * noise(rng, 3, 3)) - np.hypot(ROWS - y, COLUMNS - x), 2)
    lighter = 0.35 if canvas.mean() < 0.5 else -0.35
    colour = canvas.mean() + lighter * rng.uniform(0.7, 1.2) + rng.uniform(-0.08, 0.08, 3) * np.ptp(canvas.mean((0, 1)))
    return paint(canvas, shape, colour + 0.05 * noise(rng, 1.5, 1.5)[..., None])


KINDS = by_name(crack, dent, pasted, scratch, smeared, speck, stain)
"""Defects that any product may have, by name; a speck is visible on every product."""


def with_defects(images: Tensor, seed: int, first: int = 0) -> tuple[Tensor, Tensor]:
    """Draw a defect on each image; the kinds alternate.

    Args:
        images: RGB values from 0 to 255, of shape (B, 3, H, W); not modified.
        seed: Determines the defects, with the number of each image.
        first: Number of the first image, so that each batch of a set gets other defects.

    Returns:
        The images with defects, of shape (B, 3, H, W) and type float32, and boolean masks of shape (B, H, W).
    """
    drawn = [add_synthetic_defect(image, seed, first + i) for i, image in enumerate(images)]
    return torch.stack([image for image, _, _ in drawn]), torch.stack([mask for _, mask, _ in drawn])


def add_synthetic_defect(image: Tensor, seed: int, number: int) -> tuple[Tensor, Tensor, str]:
    """Draw a defect on one image (3, H, W); return it with the mask (H, W) and the kind of the defect.

    If a defect is hardly visible, such as a smear on a smooth surface, another is drawn; the last choice is a speck.
    """
    size = image.shape[-2:]
    canvas = resize_values(image.float() / 255, (CANVAS, CANVAS)).permute(1, 2, 0).numpy().astype(np.float64)
    names = sorted(KINDS)
    for attempt in range(ATTEMPTS):
        rng = generator("defect", seed, number, attempt)
        kind = names[number % len(names)] if attempt == 0 else names[int(rng.integers(len(names)))]
        kind = "speck" if attempt == ATTEMPTS - 1 else kind
        change = INNER * (np.clip(KINDS[kind](rng, canvas), 0, 1) - canvas)
        strength = abs(change).max(axis=2)
        if (strength > 2 * VISIBLE).sum() >= SMALLEST:
            break
    mask = covered(strength > VISIBLE)
    added = resize_values(torch.from_numpy(change).permute(2, 0, 1).float(), size)
    return (image.float() + 255 * added).clamp(0, 255), resize_defect_mask(torch.from_numpy(mask), size), kind


def covered(changed: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the region of a defect, given the pixels that it changes; a texture leaves gaps between them."""
    closed = ndimage.binary_closing(changed, np.ones((3, 3), bool), iterations=4)
    return np.asarray(ndimage.binary_opening(ndimage.binary_fill_holes(closed), np.ones((2, 2), bool)))


def resize_defect_mask(mask: Tensor, size: torch.Size) -> Tensor:
    """Resize a mask (h, w) by nearest neighbour; if nothing is left in a tiny image, by maximum."""
    nearest = F.interpolate(mask[None, None].byte(), size, mode="nearest-exact")[0, 0].bool()
    return nearest if nearest.any() else F.adaptive_max_pool2d(mask[None].float(), tuple(size))[0].bool()


def resize_values(values: Tensor, size: torch.Size | tuple[int, int]) -> Tensor:
    """Resize values (C, h, w) with antialiasing."""
    return F.interpolate(values[None], tuple(size), mode="bilinear", align_corners=False, antialias=True)[0]
