"""Draw products: each function draws one good part, from the front and evenly lit, on a new canvas.

A canvas is an array of shape (CANVAS, CANVAS, 3) with reflectances from 0 to 1. It is larger than the image,
so that the part can be moved and rotated in front of the camera.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]
Colour: TypeAlias = Sequence[float]

CANVAS = 288
THREAD = 9
"""Width of a thread of the fabric in pixels."""
PITCH = 96
"""Distance between the holes of the plate."""
CHIPS = [(68, 80, 20, 34), (68, 210, 26, 26), (174, 56, 26, 18), (196, 164, 34, 26), (134, 236, 14, 10)]
"""Centre and half height and width of the packages on the board."""
PASSIVES = [(y, x) for y in (124, 246) for x in (94, 118, 142, 166, 190, 214)]
"""Centres of the small parts with two contacts on the board."""

ROWS, COLUMNS = np.mgrid[0.0:CANVAS, 0.0:CANVAS]


def noise(rng: np.random.Generator, height: float, width: float) -> Array:
    """Draw Gaussian noise, smoothed by ``height`` and ``width`` pixels, with mean 0 and deviation 1."""
    spectrum = np.fft.rfft2(rng.standard_normal((CANVAS, CANVAS)))
    down, across = np.fft.fftfreq(CANVAS)[:, None], np.fft.rfftfreq(CANVAS)
    field = np.fft.irfft2(spectrum * np.exp(-2 * np.pi**2 * ((height * down) ** 2 + (width * across) ** 2)))
    normalised: Array = (field - field.mean()) / field.std()
    return normalised


def step(signed_distance: Array, softness: float = 1.0) -> Array:
    """Return the opacity of a shape with a soft border: 1 inside, where the distance to the border is positive."""
    return np.clip(signed_distance / softness + 0.5, 0, 1)


def disc(y: float, x: float, radius: float, softness: float = 1.0) -> Array:
    """Return the opacity of a disc."""
    return step(radius - np.hypot(ROWS - y, COLUMNS - x), softness)


def box(y: float, x: float, half_height: float, half_width: float, softness: float = 1.0) -> Array:
    """Return the opacity of an upright rectangle."""
    line = np.arange(0.0, CANVAS)
    return step(half_height - abs(line - y), softness)[:, None] * step(half_width - abs(line - x), softness)


def union(shapes: Iterable[Array]) -> Array:
    """Return the opacity of several shapes together."""
    return functools.reduce(np.maximum, shapes)


def paint(canvas: Array, opacity: Array, colour: Colour | Array) -> Array:
    """Paint a colour over a canvas."""
    return canvas + opacity[..., None] * (np.asarray(colour) - canvas)


def grey(values: Array, tint: Colour = (1, 1, 1)) -> Array:
    """Convert values of shape (H, W) to a canvas."""
    return np.multiply(values[..., None], tint)


def fabric(rng: np.random.Generator) -> Array:
    """Draw twill: each weft thread passes over two warp threads and under two, shifted by one in each row."""
    y = ROWS + 1.2 * noise(rng, 18, 18) + rng.uniform(0, THREAD)
    x = COLUMNS + 1.2 * noise(rng, 18, 18) + rng.uniform(0, THREAD)
    row, column = (y // THREAD).astype(int), (x // THREAD).astype(int)
    shade = 1 + 0.14 * rng.standard_normal((2, CANVAS))
    warp = (0.35 + 0.65 * np.sin(np.pi * (x / THREAD % 1))) * shade[0][column] * (1 + 0.13 * noise(rng, 3, 0.6))
    weft = (0.35 + 0.65 * np.sin(np.pi * (y / THREAD % 1))) * shade[1][row] * (1 + 0.13 * noise(rng, 0.6, 3))
    over = ((row + column) % 4 < 2)[..., None]
    canvas = np.where(over, grey(warp, (0.34, 0.42, 0.58)), grey(weft, (0.62, 0.62, 0.58)))
    neps = noise(rng, 2.3, 2.3)
    return canvas * (1 - 0.55 * step(neps - 2.4, 0.4) + 0.45 * step(-neps - 2.4, 0.4))[..., None]


def plate(rng: np.random.Generator) -> Array:
    """Draw brushed metal with nine drilled and countersunk holes."""
    brushed = 0.05 * noise(rng, 0.6, 30) + 0.035 * noise(rng, 0.5, 6) + 0.03 * noise(rng, 2, 60)
    canvas = grey(0.58 + brushed, (0.97, 1, 1.03))
    dy, dx = hole_offsets(rng.uniform(-1.5, 1.5, (2, 3, 3)))
    distance, sheen = np.hypot(dy, dx), 0.16 * np.cos(np.arctan2(dy, dx) - 2.3)
    rim = step(16 - distance, 1.5)
    canvas = paint(canvas, rim, grey(0.6 + sheen + 0.02 * noise(rng, 1, 1)))
    return paint(canvas, step(rng.uniform(11, 13) - distance, 1.5), grey(0.16 + 0.3 * sheen))


def hole_offsets(shift: Array | float = 0.0) -> tuple[Array, Array]:
    """Return the vertical and horizontal distance to the nearest hole of the plate, moved by ``shift``."""
    moved = np.broadcast_to(shift, (2, 3, 3))
    row, column = (np.clip(np.round(axis / PITCH - 1 / 2), 0, 2).astype(int) for axis in (ROWS, COLUMNS))
    dy = ROWS - PITCH * (row + 1 / 2) - moved[0][row, column]
    dx = COLUMNS - PITCH * (column + 1 / 2) - moved[1][row, column]
    return dy, dx


def granite(rng: np.random.Generator) -> Array:
    """Draw polished stone: grains of feldspar, quartz and mica."""
    canvas = grey(0.62 + 0.05 * noise(rng, 2, 2) + 0.03 * noise(rng, 12, 12), (1.02, 0.96, 0.92))
    canvas = paint(canvas, 0.85 * step(noise(rng, 3, 3) - 0.8, 0.15), (0.50, 0.48, 0.47))
    canvas = paint(canvas, 0.8 * step(noise(rng, 3.5, 3.5) - 1.1, 0.15), (0.80, 0.72, 0.66))
    canvas = paint(canvas, 0.9 * step(noise(rng, 1.6, 1.6) - 1.4, 0.2), (0.20, 0.19, 0.20))
    return canvas + grey(0.02 * noise(rng, 0.7, 0.7))


def board(rng: np.random.Generator) -> Array:
    """Draw a printed circuit board: traces, packages with legs, and small parts with two contacts."""
    canvas = grey(0.9 + 0.05 * noise(rng, 1, 1) + 0.05 * noise(rng, 20, 20), (0.10, 0.36, 0.22))
    bend = COLUMNS + 14 * np.clip((ROWS - 104 - 40 * (COLUMNS // 80)) / 20, -1, 1)
    canvas = paint(canvas, 0.6 * step(2.2 - abs(bend % 14 - 7)), (0.2, 0.52, 0.32))
    fine = noise(rng, 1.2, 1.2)
    canvas = passives(rng, canvas, fine)
    legs = union(box(y, x, h - 3, w + 7) * step(1.8 - abs((ROWS - y) % 8 - 4)) for y, x, h, w in CHIPS)
    canvas = paint(canvas, legs, grey(0.68 + 0.06 * fine, (1, 1, 0.97)))
    canvas = paint(canvas, union(box(*chip) for chip in CHIPS), grey(0.17 + 0.012 * fine))
    print_ = union(box(y + line, x, 2.2, 0.6 * w) for y, x, _, w in CHIPS for line in (-5, 5))
    canvas = paint(canvas, print_ * step(0.6 * noise(rng, 1, 1.2)), (0.6, 0.6, 0.58))
    return paint(canvas, union(box(y - h + 6, x - w + 6, 2, 2, 2) for y, x, h, w in CHIPS), (0.3, 0.3, 0.3))


def passives(rng: np.random.Generator, canvas: Array, fine: Array) -> Array:
    """Draw small ceramic parts with a contact at each end on the board."""
    centres = np.array(PASSIVES) + rng.uniform(-1, 1, (len(PASSIVES), 2))
    canvas = paint(canvas, union(box(y, x, 11, 6) for y, x in centres), grey(0.7 + 0.07 * fine))
    shade = 0.62 + 0.05 * rng.uniform(-1, 1) + 0.02 * fine
    return paint(canvas, union(box(y, x, 6, 6) for y, x in centres), grey(shade, (1, 0.8, 0.58)))


PRODUCTS = {product.__name__: product for product in (board, fabric, granite, plate)}
