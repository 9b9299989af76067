"""One image's result in one row: image, ground truth, heatmap, predicted mask, with text in the font of Pillow."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import cache, lru_cache
from math import ceil
from typing import cast

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from PIL.Image import Resampling

from anomalib_flows.core.images import Pixels
from anomalib_flows.core.types import ANOMALOUS, LABELS, NORMAL, ImageResult
from anomalib_flows.results.heatmap import Colour, as_image, outline, overlay

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


THRESHOLD = 0.5
"""Normalised score above which an image is anomalous."""
WHITE: Colour = (255, 255, 255)
INK: Colour = (32, 32, 36)
GREY: Colour = (118, 118, 124)
EMPTY: Colour = (236, 236, 238)
PRODUCT: Colour = (140, 140, 144)
AMBER: Colour = (255, 176, 0)
LABEL_COLOURS: dict[int, Colour] = {NORMAL: (16, 140, 60), ANOMALOUS: (214, 24, 36)}
DEFECT: Colour = (255, 32, 48)
"""Of masks: brighter than text, to stand out from dark products."""

PANEL_HEIGHT, PANEL_WIDTH = (256, 320), 430
"""Least and greatest height, and greatest width, of a panel in pixels."""
CELL = (120, 104)
"""Least height and width of a panel's place: of very flat or narrow images only part of it is filled."""
MARGIN, GAP, HEADER, TITLE, BAR = 12, 8, 50, 20, 92


def figure(result: ImageResult, picture: Pixels, title: str) -> Image.Image:
    """Draw one row of panels under a caption; an amber frame and a badge mark a wrong decision.

    The picture is RGB of shape (h, w, 3).
    """
    panels = _panels(result, picture)
    height, width = (max(CELL[0], panels[0][1].height), max(CELL[1], panels[0][1].width))
    facts = _facts(result)
    inner = max(len(panels) * (width + GAP) + BAR, length(facts, 14))
    top = MARGIN + HEADER + TITLE
    canvas = Image.new("RGB", (inner + 2 * MARGIN, top + height + MARGIN), WHITE)
    _header(canvas, result, title, facts)
    for place, (caption, panel) in enumerate(panels):
        left = MARGIN + place * (width + GAP)
        canvas.paste(panel, (left + (width - panel.width) // 2, top + (height - panel.height) // 2))
        _write_centred(canvas, (left + width / 2, top - 9), caption)
    _colour_bar(canvas, MARGIN + len(panels) * (width + GAP) + GAP, top, height)
    return canvas


def _panels(result: ImageResult, picture: Pixels) -> list[tuple[str, Image.Image]]:
    """Titles and pictures of the panels, all of one size."""
    image = as_image(picture)
    image = image.resize(panel_size(image.width, image.height), Resampling.LANCZOS)
    return [
        ("image", image),
        ("ground truth", _ground_truth(result, image)),
        ("heatmap", overlay(image, result.anomaly_map, result.mask)),
        ("predicted mask", outline(image, result.mask, DEFECT)),
    ]


def panel_size(width: int, height: int) -> tuple[int, int]:
    """Return width and height of the panel for an image of ``width`` x ``height`` pixels, with its aspect ratio."""
    least, greatest = PANEL_HEIGHT
    scale = min(min(max(height, least), greatest) / height, PANEL_WIDTH / width)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _ground_truth(result: ImageResult, image: Image.Image) -> Image.Image:
    if result.ground_truth is not None:
        return outline(image, result.ground_truth, DEFECT)
    if result.sample and result.sample.label == NORMAL:
        return image
    panel = Image.new("RGB", image.size, EMPTY)
    _write_centred(panel, (image.width / 2, image.height / 2), "no mask")
    return panel


def _write_centred(canvas: Image.Image, middle: tuple[float, float], word: str) -> None:
    words = [(word, GREY)]
    write(canvas, (middle[0] - length(words, 13) / 2, middle[1]), words, 13)


def _facts(result: ImageResult) -> Words:
    """Second line of the caption: true and predicted label, normalised score, its threshold and p-value."""
    words: list[tuple[str, Colour]] = []
    if truth := result.sample:
        kind = f" ({printable(truth.defect)[:40]})" if truth.label == ANOMALOUS else ""
        words += [("true: ", GREY), (LABELS[truth.label] + kind, LABEL_COLOURS[truth.label]), ("    ", GREY)]
    words += [("predicted: ", GREY), (LABELS[result.label], LABEL_COLOURS[result.label])]
    for name, value in (("score", result.score), ("threshold", THRESHOLD), ("p-value", result.p_value)):
        words += [(f"    {name}: ", GREY), (f"{value:.4g}", INK)]
    return words


def _header(canvas: Image.Image, result: ImageResult, name: str, facts: Words) -> None:
    """Draw the caption: the name, what the detector said, and a badge if it was wrong."""
    draw = ImageDraw.Draw(canvas)
    right = canvas.width - MARGIN
    if result.wrong:
        badge = "WRONG: missed defect" if result.label == NORMAL else "WRONG: false alarm"
        left = right - length([(badge, INK)], 14) - 16
        draw.rectangle((0, 0, canvas.width - 1, canvas.height - 1), outline=AMBER, width=4)
        draw.rounded_rectangle((left, MARGIN, right, MARGIN + 22), radius=4, fill=AMBER)
        write(canvas, (left + 8, MARGIN + 11), [(badge, INK)], 14)
        right = left - GAP
    title = shorten(printable(name), 17, right - MARGIN)
    write(canvas, (MARGIN, MARGIN + 11), [(title, INK)], 17)
    write(canvas, (MARGIN, MARGIN + 33), facts, 14)


def _colour_bar(canvas: Image.Image, left: int, top: int, height: int) -> None:
    canvas.paste(_bar(height), (left, top))
    draw = ImageDraw.Draw(canvas)
    for value, lines in ((1.0, ["1"]), (THRESHOLD, ["0.5", "threshold"]), (0.0, ["0"])):
        y = top + (1 - value) * (height - 1)
        draw.line((left if value == THRESHOLD else left + 12, y, left + 16, y), fill=INK)
        for place, line in enumerate(lines):
            write(canvas, (left + 20, y + 14 * place), [(line, GREY)], 12)


@cache
def _bar(height: int) -> Image.Image:
    """Colours of the heatmap as they look over a grey product."""
    values = np.linspace(1, 0, height, dtype=np.float32)[:, None]
    return overlay(Image.new("RGB", (12, height), PRODUCT), values)
