"""An animated picture that walks through the images of a test or prediction, each beside its heatmap."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image
from PIL.Image import Resampling

from anomalib_flows.core.errors import InputError, first_line
from anomalib_flows.core.files import atomic
from anomalib_flows.core.types import ANOMALOUS, LABELS, NORMAL
from anomalib_flows.results.figure import (
    AMBER,
    GREY,
    INK,
    LABEL_COLOURS,
    WHITE,
    Words,
    length,
    printable,
    shorten,
    write,
)
from anomalib_flows.results.heatmap import Colour
from anomalib_flows.results.pictures import choose
from anomalib_flows.results.report.formats import Row, Thumbnail
from anomalib_flows.results.report.reading import AGAIN, read_results

NAME = "animation.webp"
FRAMES = 60
"""Limit of the images that are shown."""
SECONDS, SECONDS_WRONG = 0.8, 1.6
"""How long an image is shown, and one with a wrong decision."""
MARGIN, LINE, TEXT = 8, 18, 13
"""Space around the pictures, height of a line and size of its text in pixels."""
LEAST, LARGEST = 160, 400
"""Least width of a picture's place, so that the text has room, and greatest width and height of a thumbnail."""
PACKED: dict[str, Any] = {"quality": 70, "method": 4}
"""Options of WebP; ``method`` is the effort, from 0 to 6."""
COLOURS = {LABELS[label]: colour for label, colour in LABEL_COLOURS.items()}


class Shown(NamedTuple):
    """An image's photo and the same photo under heatmap and contour, of one size, and its decision."""

    photo: Image.Image
    overlay: Image.Image
    row: Row


def write_animation(folder: Path) -> list[Path]:
    """Write ``animation.webp`` from the thumbnails and predictions of a folder of results.

    A frame has the photo, with the ground truth in red where it is known, beside heatmap and predicted contour, and
    label and score as text. At most 60 images are shown, evenly spaced, half of them anomalous where possible.

    Args:
        folder: A run, its ``validation`` or ``disturbed``, or the output of ``predict``.

    Returns:
        The file, which is one for each category, as a run has one.

    Raises:
        InputError: If files are missing or damaged, or there are no thumbnails.
    """
    results = read_results(folder)
    anomalous = [is_anomalous(row) for row, thumbnail in results.rows_with_thumbnails() if thumbnail]
    if not anomalous:
        raise InputError(f"{folder} has no thumbnails to animate: test or predict again.")
    chosen = set(choose(anomalous, FRAMES))
    pairs = ((row, thumbnail) for row, thumbnail in results.rows_with_thumbnails() if thumbnail)
    try:
        shown = [decoded(thumbnail, row) for place, (row, thumbnail) in enumerate(pairs) if place in chosen]
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{results.files.thumbnails_file} is damaged ({first_line(error)}): {AGAIN}.") from error
    write_frames(shown, folder / NAME)
    return [folder / NAME]


def is_anomalous(row: Row) -> bool:
    """Return whether an image is anomalous: by the truth, or if it is unknown by the decision."""
    return (row["truth"] or row["label"]) == LABELS[ANOMALOUS]


def decoded(thumbnail: Thumbnail, row: Row) -> Shown:
    """Decode the pictures of an image and lay them over each other."""
    photo = decode(thumbnail["photo"]).convert("RGB")
    overlay = laid_over(photo, thumbnail["heatmap"], Resampling.BICUBIC)
    return Shown(laid_over(photo, thumbnail["truth"]), laid_over(overlay, thumbnail["mask"]), row)


def decode(text: str) -> Image.Image:
    """Decode a picture from base64; raise a ValueError if it is none, or no thumbnail."""
    image = Image.open(BytesIO(b64decode(text, validate=True)))
    if max(image.size) > LARGEST:
        raise ValueError(f"{image.size} is no size of a thumbnail")
    return image


def laid_over(photo: Image.Image, text: str | None, resampling: Resampling = Resampling.NEAREST) -> Image.Image:
    """Return a photo under a transparent picture, which may be smaller; without one as it is."""
    if text is None:
        return photo
    layer = decode(text).convert("RGBA").resize(photo.size, resampling)
    return Image.alpha_composite(photo.convert("RGBA"), layer).convert("RGB")


def write_frames(shown: Sequence[Shown], file: Path) -> None:
    """Draw the frames, and pack them as an animated WebP that repeats."""
    widths, heights = zip(*(one.photo.size for one in shown), strict=True)
    place = max(LEAST, *widths), max(heights)
    first, *rest = [frame(one, place, f"{i} / {len(shown)}") for i, one in enumerate(shown, start=1)]
    durations = [round(1000 * (SECONDS_WRONG if wrong(one.row) else SECONDS)) for one in shown]
    with atomic(file) as temporary:
        first.save(temporary, "WEBP", save_all=True, append_images=rest, duration=durations, loop=0, **PACKED)


def frame(shown: Shown, place: tuple[int, int], number: str) -> Image.Image:
    """Draw a frame: text above, photo and overlay side by side below; a wrong decision has an amber border."""
    width, height = place
    canvas = Image.new("RGB", (2 * width + 3 * MARGIN, height + 2 * MARGIN + 2 * LINE), WHITE)
    if wrong(shown.row):
        canvas.paste(AMBER, (0, 0, *canvas.size))
        canvas.paste(WHITE, (4, 4, canvas.width - 4, canvas.height - 4))
    top = MARGIN + 2 * LINE
    for column, picture in enumerate((shown.photo, shown.overlay)):
        left = MARGIN + column * (width + MARGIN)
        canvas.paste(picture, (left + (width - picture.width) // 2, top + (height - picture.height) // 2))
    room = canvas.width - 2 * MARGIN
    counted = [(number, GREY)]
    name = shorten(printable(shown.row["path"]), TEXT, room - length(counted, TEXT) - MARGIN)
    write(canvas, (MARGIN, MARGIN + LINE / 2 - 2), [(name, GREY)], TEXT)
    write(canvas, (canvas.width - MARGIN - length(counted, TEXT), MARGIN + LINE / 2 - 2), counted, TEXT)
    write(canvas, (MARGIN, MARGIN + 3 * LINE / 2 - 2), fitting(decision(shown.row), room), TEXT)
    return canvas


def wrong(row: Row) -> bool:
    """Return whether a decision is known to be wrong."""
    return row["outcome"] not in ("", "correct")


def decision(row: Row) -> list[tuple[str, Colour]]:
    """Return label, score and ground truth as pieces of a line, the most important first."""
    words = [(row["label"], COLOURS.get(row["label"], INK)), (f"  {row['score']:.2f}", INK)]
    if wrong(row):
        words.append((f"  {row['outcome'].upper()}", LABEL_COLOURS[ANOMALOUS]))
    if row["truth"]:
        truth = row["defect"] if is_anomalous(row) else LABELS[NORMAL]
        words.append((f"  (true: {printable(truth)})", GREY))
    return words


def fitting(words: Words, width: int) -> list[tuple[str, Colour]]:
    """Leave out the last pieces of a line that is too wide."""
    kept = list(words)
    while len(kept) > 1 and length(kept, TEXT) > width:
        kept.pop()
    return kept
