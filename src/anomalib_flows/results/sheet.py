"""Combine pictures to one, for documents."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from PIL import Image
from PIL.Image import Resampling

from anomalib_flows.core.errors import InputError
from anomalib_flows.results.heatmap import Picture, as_image

SPACE = 8


def contact_sheet(pictures: Sequence[Picture], columns: int, width: int = 1600) -> Image.Image:
    """Arrange pictures in rows on white; those too large for a column are scaled down.

    Args:
        pictures: Images or figures, of any sizes.
        columns: Pictures in a row.
        width: Greatest width of the sheet in pixels.

    Raises:
        InputError: If there is no picture, or no column.
    """
    if not pictures or columns < 1:
        raise InputError("A contact sheet needs at least one picture and one column.")
    columns = min(columns, len(pictures))
    room = max(1, (width - SPACE) // columns - SPACE)
    cells = [_shrunk(as_image(picture), room) for picture in pictures]
    rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    step = max(cell.width for cell in cells) + SPACE
    heights = [max(cell.height for cell in row) + SPACE for row in rows]
    sheet = Image.new("RGB", (columns * step + SPACE, sum(heights) + SPACE), "white")
    for row, top in zip(rows, accumulate(heights, initial=SPACE), strict=False):
        for column, cell in enumerate(row):
            sheet.paste(cell, (SPACE + column * step + (step - SPACE - cell.width) // 2, top))
    return sheet


def _shrunk(image: Image.Image, width: int) -> Image.Image:
    if image.width <= width:
        return image
    return image.resize((width, max(1, round(image.height * width / image.width))), Resampling.LANCZOS)
