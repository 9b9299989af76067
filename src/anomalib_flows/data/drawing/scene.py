"""Draw photographs of synthetic products, with or without a defect.

Each function of a defect returns a copy of a good canvas with the defect; the mask is where both differ. Most defects
take their grey levels from the product itself, so that the structure is wrong and not the brightness.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from anomalib_flows.data.drawing.products import (
    CANVAS,
    CHIPS,
    COLUMNS,
    PASSIVES,
    PITCH,
    PRODUCTS,
    ROWS,
    THREAD,
    Array,
    box,
    disc,
    hole_offsets,
    noise,
    paint,
    step,
    union,
)
from anomalib_flows.data.loading.randomness import generator

SIZE = 256
VISIBLE = 0.035
"""Smallest change of reflectance that counts as a defect, about nine grey levels."""
T = TypeVar("T")
Defect: TypeAlias = Callable[[np.random.Generator, Array], Array]


def place(rng: np.random.Generator) -> Array:
    """Return a random point that is inside the image at any pose of the part."""
    return rng.uniform(0.28, 0.72, 2) * CANVAS


def choose_item(rng: np.random.Generator, items: list[T]) -> T:
    """Return a random item of a list."""
    return items[int(rng.random() * len(items))]


def blob(rng: np.random.Generator, small: float, large: float, softness: float = 3.0) -> Array:
    """Return the opacity of an irregular spot with a radius between ``small`` and ``large``."""
    (y, x), radius = place(rng), rng.uniform(small, large)
    return step(radius * (1 + 0.22 * noise(rng, 8, 8)) - np.hypot(ROWS - y, COLUMNS - x), softness)


def stroke(rng: np.random.Generator, length: float, width: float, bend: float, angle: float) -> Array:
    """Return the opacity of a wandering line."""
    angles = angle + np.cumsum(bend * rng.standard_normal(int(2 * length)))
    path = np.cumsum(0.5 * np.stack([np.sin(angles), np.cos(angles)]), axis=1)
    path += (place(rng) - path.mean(axis=1))[:, None]
    far = np.ones((CANVAS, CANVAS))
    far[tuple(np.clip(path.round().astype(int), 0, CANVAS - 1))] = 0
    return step(width / 2 - np.asarray(ndimage.distance_transform_edt(far)))


def crack(rng: np.random.Generator, canvas: Array) -> Array:
    """Draw a dark, jagged line."""
    line = stroke(rng, rng.uniform(50, 100), rng.uniform(1.6, 2.8), 0.13, rng.uniform(0, np.pi))
    return paint(canvas, 0.9 * line, 0.28 * canvas)


def scratch(rng: np.random.Generator, canvas: Array) -> Array:
    """Draw a bright, nearly straight line with a dark rim."""
    angle = rng.uniform(0.35, np.pi - 0.35)
    line = stroke(rng, rng.uniform(40, 100), rng.uniform(1.5, 3), 0.02, angle)
    return paint(canvas, 0.3 * line - 0.35 * np.roll(line, 2, axis=1), 2 * canvas)


def stain(rng: np.random.Generator, canvas: Array) -> Array:
    """Draw a dried drop: slightly darker inside, with a dark rim."""
    (y, x), radius = place(rng), rng.uniform(10, 22)
    depth = radius * (1 + 0.2 * noise(rng, 7, 7)) - np.hypot(ROWS - y, COLUMNS - x)
    return paint(canvas, rng.uniform(0.1, 0.25) * step(depth) + 0.6 * np.exp(-((depth / 2) ** 2)), 0 * canvas)


def turned(rng: np.random.Generator, canvas: Array) -> Array:
    """Rotate the structure of a region by 90 degrees."""
    return paint(canvas, blob(rng, 11, 20), np.flip(canvas.transpose(1, 0, 2), 0))


def grooves(rng: np.random.Generator, canvas: Array) -> Array:
    """Draw a region with the marks of a grinding wheel."""
    angle, pitch = rng.uniform(0, np.pi), rng.uniform(4.5, 6.5)
    waves = np.sin(2 * np.pi * (np.cos(angle) * ROWS + np.sin(angle) * COLUMNS) / pitch)
    return paint(canvas, 0.22 * waves * blob(rng, 14, 26), 2 * canvas)


def dent(rng: np.random.Generator, canvas: Array) -> Array:
    """Draw a dent: it contracts the structure, with light on one side and shade on the other."""
    (y, x), radius, depth = place(rng), rng.uniform(12, 20), rng.uniform(0.4, 0.65)
    dy, dx = ROWS - y, COLUMNS - x
    bump = np.exp(-(dy**2 + dx**2) / (2 * (radius / 2) ** 2))
    bent = warp(canvas, ROWS + depth * dy * bump * 1.5, COLUMNS + depth * dx * bump * 1.5)
    return paint(bent, depth * bump * (dy + dx) / radius, 2 * bent)


def warp(canvas: Array, rows: Array, columns: Array) -> Array:
    """Resample a canvas at the given rows and columns."""
    channels = [ndimage.map_coordinates(c, (rows, columns), order=1, mode="wrap") for c in np.moveaxis(canvas, 2, 0)]
    return np.stack(channels, axis=2)


def slipped_thread(rng: np.random.Generator, canvas: Array) -> Array:
    """Weave two or three threads wrongly for a short length."""
    (y, x), threads = place(rng), 2 + int(rng.random() * 2)
    band = box(y, x, threads * THREAD / 2, rng.uniform(30, 60))
    return paint(canvas, band, np.roll(canvas, 2 * THREAD, axis=1))


def floating_thread(rng: np.random.Generator, canvas: Array) -> Array:
    """Lay a thread on top of all others for a short length."""
    (y, x), shifts = place(rng), (0, THREAD, 2 * THREAD, 3 * THREAD)
    band = box(y, x, 0.6 * THREAD, rng.uniform(25, 60))
    return paint(canvas, band, union(np.roll(canvas, shift, axis=1) for shift in shifts))


def snag(rng: np.random.Generator, canvas: Array) -> Array:
    """Twist the threads at a spot."""
    (y, x), radius = place(rng), rng.uniform(14, 22)
    dy, dx = ROWS - y, COLUMNS - x
    angle = rng.uniform(0.9, 1.4) * np.exp(-0.5 * ((dy**2 + dx**2) / (0.6 * radius) ** 2) ** 2)
    return warp(canvas, y + np.cos(angle) * dy - np.sin(angle) * dx, x + np.sin(angle) * dy + np.cos(angle) * dx)


def clogged_hole(rng: np.random.Generator, canvas: Array) -> Array:
    """Fill a hole with chips."""
    (y, x), (dy, dx) = PITCH * (np.floor(rng.uniform(0, 3, 2)) + 1 / 2), hole_offsets()
    here = box(y, x, PITCH / 2, PITCH / 2)
    chips = 0.27 + 0.12 * noise(rng, 1.2, 1.2)
    return paint(canvas, here * step(12 - np.hypot(dy, dx), 2), chips[..., None])


def missing_part(rng: np.random.Generator, canvas: Array) -> Array:
    """Remove a small part, so that its bare contacts are visible."""
    y, x = choose_item(rng, PASSIVES)
    return paint(canvas, box(y, x, 7, 8), np.roll(canvas, -25, axis=0))


def turned_part(rng: np.random.Generator, canvas: Array) -> Array:
    """Rotate a small part."""
    y, x = choose_item(rng, PASSIVES)
    angle = rng.uniform(0.5, 1.4)
    dy, dx = ROWS - y, COLUMNS - x
    rows, columns = y + np.cos(angle) * dy - np.sin(angle) * dx, x + np.sin(angle) * dy + np.cos(angle) * dx
    bare = paint(canvas, box(y, x, 13, 8), np.roll(canvas, -25, axis=0))
    return paint(bare, disc(y, x, 12.5), warp(canvas, rows, columns))


def bridge(rng: np.random.Generator, canvas: Array) -> Array:
    """Join two or three adjacent legs of a package with solder."""
    y, x, height, width = choose_item(rng, CHIPS[:4])
    side = x + choose_item(rng, [-1, 1]) * (width + 4)
    solder = box(y + rng.uniform(-0.6, 0.6) * height, side, rng.uniform(6, 9), 3.5, 2)
    return paint(canvas, solder, 0.66 + 0.06 * noise(rng, 1.5, 1.5)[..., None])


def misprint(rng: np.random.Generator, canvas: Array) -> Array:
    """Smudge the print on a package."""
    y, x, _, width = choose_item(rng, CHIPS[:4])
    wiped = np.maximum(np.roll(canvas, 4, axis=0), np.roll(canvas, -3, axis=0))
    return paint(canvas, box(y, x, 8, width - 3, 2), wiped)


def by_name(*defects: Defect) -> dict[str, Defect]:
    """Return functions by their names, which name folders of a dataset."""
    return {defect.__name__: defect for defect in defects}


DEFECTS = {
    "board": by_name(bridge, misprint, missing_part, scratch, stain, turned_part),
    "fabric": by_name(crack, floating_thread, slipped_thread, snag, stain, turned),
    "granite": by_name(crack, grooves, scratch, stain),
    "plate": by_name(crack, dent, clogged_hole, scratch, turned),
}


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
