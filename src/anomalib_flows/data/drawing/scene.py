"""Draw photographs of synthetic products, with or without a defect."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from anomalib_flows.data.drawing.defects import DEFECTS
from anomalib_flows.data.drawing.products import CANVAS, PRODUCTS, Array, noise
from anomalib_flows.data.loading.randomness import generator

SIZE = 256
VISIBLE = 0.035
"""Smallest change of reflectance that counts as a defect, about nine grey levels."""


def draw_photograph(category: str, defect: str, key: str) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Draw one photograph of a part, and the mask of its defect; both depend only on the arguments.

    The defect is one of ``DEFECTS[category]``, or ``good``. The key distinguishes photographs of one category and
    defect. The image has the shape (SIZE, SIZE, 3), the mask (SIZE, SIZE).
    """
    rng = generator(category, defect, key)
    canvas = PRODUCTS[category](rng)
    if defect == "good":
        return photograph(rng, pose(rng, canvas)), np.zeros((SIZE, SIZE), bool)
    spoilt = DEFECTS[category][defect](generator(category, defect, key, "defect"), canvas)
    seen = pose(rng, np.dstack([spoilt, abs(spoilt - canvas).max(axis=2)]))
    return photograph(rng, seen[..., :3]), closed_mask(seen[..., 3] > VISIBLE)


def pose(rng: np.random.Generator, canvas: Array) -> Array:
    """Move and rotate the part a little, and crop it to what the camera sees."""
    angle, offset = np.radians(rng.uniform(-3, 3)), rng.uniform(-6, 6, 2)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    origin = CANVAS / 2 + offset - turn @ np.full(2, SIZE / 2)
    channels = [
        ndimage.affine_transform(c, turn, origin, (SIZE, SIZE), order=1, mode="reflect")
        for c in np.moveaxis(canvas, 2, 0)
    ]
    return np.stack(channels, axis=2)


def photograph(rng: np.random.Generator, scene: Array) -> NDArray[np.uint8]:
    """Render the part with random lighting, dust, focus, exposure and sensor noise."""
    ramp = np.linspace(-1, 1, SIZE)
    sideways = rng.uniform(-0.15, 0.15, 2)
    light = rng.uniform(0.75, 1.2) * (1 + sideways[0] * ramp[:, None] + sideways[1] * ramp)
    dust = 0.08 * noise(rng, 1.2, 1.2)[:SIZE, :SIZE]
    dust = np.sign(dust) * np.maximum(abs(dust) - 0.23, 0)
    scene = ndimage.gaussian_filter(scene, (*[rng.uniform(0.2, 0.8)] * 2, 0))
    grain = rng.uniform(0.006, 0.02) * rng.standard_normal((SIZE, SIZE, 3))
    exposed = (scene + dust[..., None]) * light[..., None] + grain
    pixels: NDArray[np.uint8] = np.clip(255 * exposed, 0, 255).round().astype(np.uint8)
    return pixels


def closed_mask(changed: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Close the gaps that a texture leaves between changed pixels."""
    return np.asarray(ndimage.binary_closing(np.pad(changed, 4), np.ones((3, 3), bool), iterations=2))[4:-4, 4:-4]
