"""Heatmaps and masks over the image they belong to."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.Image import Resampling

from anomalib_flows.core.types import ImageSize
from anomalib_flows.results.colours import table

Picture = Image.Image | NDArray[np.uint8]
"""A Pillow image, or an array of shape (h, w, 3)."""
Colour = tuple[int, int, int]

CONTOUR: Colour = (255, 255, 255)
RIM: Colour = (0, 0, 0)
"""Colours of contours, and of their rims, which keep them visible on any image."""
CLEAR, FULL, STRONGEST = 0.1, 0.6, 0.75
"""The heatmap is invisible up to the value CLEAR and covers the share STRONGEST of the image from FULL on."""


def to_levels(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Turn values in [0, 1] into levels from 0 to 255; values outside are clipped."""
    return (values.clip(0, 1) * 255 + 0.5).astype(np.uint8)


OPACITY = to_levels(STRONGEST * ((np.linspace(0, 1, 256) - CLEAR) / (FULL - CLEAR)).clip(0, 1))
"""Opacity of the heatmap, from 0 to 255, for the levels 0 to 255."""


def as_image(picture: Picture) -> Image.Image:
    """Turn a picture into a Pillow image in RGB."""
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    return image if image.mode == "RGB" else image.convert("RGB")  # which would copy it


def heatmap(map01: NDArray[np.floating], size: ImageSize) -> Image.Image:
    """Colour an anomaly map with values in [0, 1], smoothly enlarged to the given height and width."""
    return _coloured(_levels(map01, size))


def transparent_heatmap(map01: NDArray[np.floating], size: ImageSize) -> Image.Image:
    """Colour an anomaly map as :func:`heatmap` does, in RGBA with the opacity of :func:`overlay`."""
    levels = _levels(map01, size)
    coloured = _coloured(levels)
    coloured.putalpha(levels.point(OPACITY.tolist()))
    return coloured


def overlay(picture: Picture, map01: NDArray[np.floating], mask: NDArray[np.bool_] | None = None) -> Image.Image:
    """Blend the heatmap over the image, the stronger the higher the value; draw a contour around the mask.

    Normal regions stay as they are. Map and mask may have another resolution than the image.
    """
    image = as_image(picture)
    blended = image.copy() if image is picture else image  # one large copy less
    levels = _levels(map01, (image.height, image.width))
    blended.paste(_coloured(levels), mask=levels.point(OPACITY.tolist()))
    if mask is not None:
        _draw_outline(blended, mask, CONTOUR)
    return blended


def outline(image: Image.Image, mask: NDArray[np.bool_], colour: Colour, fill: float = 0) -> Image.Image:
    """Draw a thin line around a mask of any resolution, and tint its inside by the share ``fill``.

    The line runs outside the mask, so that thin defects stay visible.
    """
    drawn = image.copy()
    _draw_outline(drawn, mask, colour, fill)
    return drawn


def contour(mask: NDArray[np.bool_], size: ImageSize) -> NDArray[np.bool_]:
    """Return the line around a mask at another size, one pixel wide."""
    return _line(_resized(mask, size), width=1)


def _draw_outline(image: Image.Image, mask: NDArray[np.bool_], colour: Colour, fill: float = 0) -> None:
    """Draw the line of :func:`outline` into an image, with a thin dark rim."""
    inside = _resized(mask, (image.height, image.width))
    width = max(1, round(min(image.size) / 250))
    rim = width + max(1, width // 2)
    if not (found := Image.fromarray(inside).getbbox()):
        return
    left, top, right, bottom = found
    box = max(0, left - rim), max(0, top - rim), min(right + rim, image.width), min(bottom + rim, image.height)
    inside = inside[box[1] : box[3], box[0] : box[2]]  # most masks are small
    image.paste(RIM, box, Image.fromarray(_line(inside, rim).view(np.uint8) * np.uint8(255)))
    opacity = _line(inside, width).view(np.uint8) * np.uint8(255)
    opacity[inside] = np.maximum(opacity[inside], round(255 * fill))
    image.paste(colour, box, Image.fromarray(opacity))


def mask_image(mask: NDArray[np.bool_], size: ImageSize | None = None) -> Image.Image:
    """Make a grey image, 255 inside the mask and 0 outside, in its own size or enlarged by nearest neighbour."""
    image = Image.fromarray(mask.astype(np.uint8) * 255)
    return image if size is None else image.resize(size[::-1], Resampling.NEAREST)


def _levels(map01: NDArray[np.floating], size: ImageSize) -> Image.Image:
    """Map as a grey image of the given size: enlarged before it is coloured, or colours would mix."""
    return Image.fromarray(to_levels(map01)).resize(size[::-1], Resampling.BICUBIC)


def _coloured(levels: Image.Image) -> Image.Image:
    levels = levels.copy()
    levels.putpalette(table().tobytes())
    return levels.convert("RGB")


def _resized(mask: NDArray[np.bool_], size: ImageSize) -> NDArray[np.bool_]:
    """Resize a mask with smooth edges, and without losing thin lines where it shrinks."""
    grey = np.asarray(mask_image(mask).resize(size[::-1], Resampling.BILINEAR))
    # A line one pixel wide keeps the share new / old of its brightness.
    shrunk = min(1.0, size[0] / mask.shape[0], size[1] / mask.shape[1])
    return np.asarray(grey >= max(1.0, 127.5 * shrunk))


def _line(inside: NDArray[np.bool_], width: int) -> NDArray[np.bool_]:
    """Pixels outside a mask that touch it, and its own pixels at the image's border."""
    grown = inside.copy()
    for _ in range(width):
        before = grown.copy()
        grown[1:] |= before[:-1]
        grown[:-1] |= before[1:]
        grown[:, 1:] |= before[:, :-1]
        grown[:, :-1] |= before[:, 1:]
    grown ^= inside  # which it contains
    border = inside.copy()
    border[width:-width, width:-width] = False
    grown |= border
    return grown
