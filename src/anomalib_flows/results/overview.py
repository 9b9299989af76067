"""A sheet of examples of a dataset."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from itertools import accumulate

from PIL import Image
from PIL.Image import Resampling

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.types import ANOMALOUS, Sample
from anomalib_flows.data.loading.reading import read_sample
from anomalib_flows.results.figure import DEFECT, GREY, LABEL_COLOURS, WHITE, printable, shorten, write
from anomalib_flows.results.heatmap import outline
from anomalib_flows.results.pictures import evenly_spaced

COLUMNS, CELL, SPACE, LINE = 8, 184, 8, 16
"""Pictures in a row; their greatest height and width, the space between, and the height of a line, in pixels."""


def overview(samples: Sequence[Sample]) -> Image.Image:
    """Lay out examples of each split and kind of defect, a row each, with the outlines of their masks.

    All of them have been read before. A row shows evenly spaced images of its kind.
    """
    groups = defaultdict(list)
    for sample in sorted(samples, key=lambda sample: (sample.split != "train", sample.label)):
        groups[sample.split, sample.label, sample.defect].append(sample)
    if not groups:
        raise InputError("A contact sheet needs at least one picture and one column.")
    rows = [[cell(sample) for sample in evenly_spaced(group, COLUMNS)] for group in groups.values()]
    heights = [max(picture.height for picture in row) + SPACE for row in rows]
    width = SPACE + max(map(len, rows)) * (CELL + SPACE)
    sheet = Image.new("RGB", (width, sum(heights) + SPACE), WHITE)
    for row, top in zip(rows, accumulate(heights, initial=SPACE), strict=False):
        for column, picture in enumerate(row):
            sheet.paste(picture, (SPACE + column * (CELL + SPACE), top))
    return sheet


def cell(sample: Sample) -> Image.Image:
    """Draw an image with its mask above its split, kind and name."""
    pixels, mask = read_sample(sample, math.inf)
    image = Image.fromarray(pixels.permute(1, 2, 0).numpy())
    scale = CELL / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    image = image.resize(size, Resampling.LANCZOS if scale < 1 else Resampling.NEAREST)
    if mask is not None:
        image = outline(image, mask.numpy(), DEFECT, fill=0.3)
    canvas = Image.new("RGB", (CELL, image.height + 2 * LINE + 4), WHITE)
    canvas.paste(image, ((CELL - image.width) // 2, 0))
    kind = shorten(printable(f"{sample.split} {sample.defect}"), 12, CELL)
    write(canvas, (0, image.height + LINE / 2 + 4), [(kind, LABEL_COLOURS[sample.label])], 12)
    unmarked = sample.label == ANOMALOUS and (mask is None or not mask.any())
    remark = (", no mask" if mask is None else ", empty mask") * unmarked
    name = shorten(printable(sample.path.name + remark), 12, CELL)
    write(canvas, (0, image.height + 1.5 * LINE + 4), [(name, GREY)], 12)
    return canvas
