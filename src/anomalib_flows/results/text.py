"""Text in pictures, with the font of Pillow."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import cache, lru_cache
from math import ceil
from typing import cast

from PIL import Image, ImageDraw, ImageFont

from anomalib_flows.results.heatmap import Colour

Font = ImageFont.FreeTypeFont
Words = Sequence[tuple[str, Colour]]
"""Pieces of one line of text with their colours."""


@cache
def font(size: int) -> Font:
    """Pillow's built-in font; loaded once, for loading takes longer than drawing."""
    return cast("Font", ImageFont.load_default(size=size))


def printable(text: str) -> str:
    """Replace what the built-in font cannot draw: accents are dropped, other scripts become question marks.

    Example:
        >>> printable("Prüfung/検.png")
        'Prufung/?.png'
    """
    letters = (letter for letter in unicodedata.normalize("NFKD", text) if not unicodedata.combining(letter))
    return "".join(letter if " " <= letter <= "~" else "?" for letter in letters)


def shorten(text: str, size: int, width: float) -> str:
    """Cut the start off a line that is wider than ``width`` pixels: a file's name is at the end of its path."""
    if font(size).getlength(text) <= width:
        return text
    while text and font(size).getlength("..." + text) > width:
        text = text[1:]
    return "..." + text


def length(words: Words, size: int) -> int:
    """Width of a line in pixels."""
    return ceil(sum(_stamp(word, size)[1] for word, _ in words))


def write(canvas: Image.Image, position: tuple[float, float], words: Words, size: int) -> None:
    """Draw a line of text of several colours; its left end and middle are at ``position``."""
    x, y = position
    for word, colour in words:
        stamp, width = _stamp(word, size)
        canvas.paste(colour, (round(x), round(y) - size), stamp)
        x += width


@lru_cache(maxsize=256)
def _stamp(word: str, size: int) -> tuple[Image.Image, float]:
    """Word in white on black, its middle ``size`` below the top, and its width; most words return in every figure."""
    width = font(size).getlength(word)
    stamp = Image.new("L", (ceil(width) + 1, 2 * size))
    ImageDraw.Draw(stamp).text((0, size), word, fill=255, font=font(size), anchor="lm")
    return stamp, width
