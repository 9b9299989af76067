"""Label, score and colour scale in a corner of a picture, readable on any image."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from anomalib_flows.core.types import ANOMALOUS, LABELS, NORMAL, ImageResult
from anomalib_flows.results.colours import table
from anomalib_flows.results.figure import THRESHOLD, WHITE, Words, length, write
from anomalib_flows.results.heatmap import Colour

PLATES: dict[int, Colour] = {NORMAL: (24, 24, 28), ANOMALOUS: (140, 12, 24)}
"""Grounds of the text by label, dark enough for white letters."""
SMALLEST, LARGEST = 9, 28
"""Sizes of the text in pixels."""


def label_image(image: Image.Image, result: ImageResult) -> None:
    """Write label and score on a plate in the upper left corner, over the colours from 0 to 1 with the threshold.

    A picture that is too small for the words stays as it is.
    """
    words = [(f"{LABELS[result.label]} {result.score:.2f}", WHITE)]
    if size := fitting_size(image, words):
        pad, small = size // 3, max(SMALLEST, size // 2)
        width = length(words, size) + 2 * pad
        image.paste(PLATES[result.label], (0, 0, width, size + small + 3 * pad))
        write(image, (pad, pad + size / 2), words, size)
        draw_scale(image, (pad, size + 2 * pad, width - pad, size + 2 * pad + small))


def fitting_size(image: Image.Image, words: Words) -> int:
    """Return the size of text that takes a thirtieth of the image and less than its width; 0 if there is none."""
    size = min(LARGEST, max(SMALLEST, min(image.size) // 30))
    while size >= SMALLEST and not (length(words, size) + size < image.width and 4 * size < image.height):
        size -= 1
    return size if size >= SMALLEST else 0


def draw_scale(image: Image.Image, box: tuple[int, int, int, int]) -> None:
    """Draw the colours of scores between the digits 0 and 1; a white mark with a dark rim is the threshold."""
    left, top, right, bottom = box
    height = bottom - top
    for digit, place in (("0", left), ("1", right - length([("1", WHITE)], height))):
        write(image, (place, top + height / 2), [(digit, WHITE)], height)
    left, right = left + height, right - height
    colours = table()[np.linspace(0, 255, right - left).round().astype(int)]
    image.paste(Image.fromarray(colours[None]).resize((right - left, height)), (left, top))
    place, draw = left + round(THRESHOLD * (right - left - 1)), ImageDraw.Draw(image)
    draw.rectangle((place - 1, top - 1, place + 1, bottom), fill=(0, 0, 0))
    draw.line((place, top - 1, place, bottom), fill=WHITE)
