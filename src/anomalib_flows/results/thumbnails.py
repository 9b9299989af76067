"""Small pictures of the images for the report: a line of JSON for each, of bounded size and number."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.Image import Resampling

from anomalib_flows.core.types import ANOMALOUS, ImageResult, ImageSize
from anomalib_flows.results.drawing import Drawing
from anomalib_flows.results.figure import DEFECT
from anomalib_flows.results.heatmap import CONTOUR, Colour, as_image, contour, transparent_heatmap
from anomalib_flows.results.pictures import picture_of
from anomalib_flows.results.table import Write, growing, written_path

SIDE, HEATMAP_SIDE = 192, 96
"""Greatest height and width of a thumbnail and of its heatmap in pixels; heatmaps are smooth and are enlarged well."""
PACKED = {"quality": 70, "alpha_quality": 70, "method": 0}
"""Options of WebP; ``method`` is the effort, from 0 to 6: more of it takes longer and saves next to nothing."""
FIRST, MOST = 2000, 4000
"""Number of images from which on only those to look at have a thumbnail, and greatest number of thumbnails."""


class ThumbnailSink:
    """Draw a line for each image, which ``write`` takes, in their order.

    The first 2,000 images have a thumbnail, then those with a wrong decision, or without ground truth the anomalous
    ones, until there are 4,000. ``count`` of them were drawn before.
    """

    def __init__(self, drawing: Drawing, write: Write, *, labelled: bool, count: int = 0) -> None:
        self.drawing, self.write, self.labelled, self.count = drawing, write, labelled, count

    def add(self, result: ImageResult) -> None:
        """Draw the thumbnail of an image that has one."""
        to_look_at = result.wrong if self.labelled else result.label == ANOMALOUS
        if has_thumbnail(self.count, to_look_at):
            self.count += 1
            self.drawing.submit(thumbnail, result, then=self.write)


def has_thumbnail(count: int, to_look_at: bool) -> bool:
    """Return whether an image has a thumbnail after ``count`` others that have one."""
    return count < FIRST or (to_look_at and count < MOST)


@contextmanager
def open_thumbnails(file: Path, drawing: Drawing, *, labelled: bool) -> Iterator[ThumbnailSink]:
    """Open a file of thumbnails, which are drawn in threads."""
    with growing(file) as write, drawing.finished():
        yield ThumbnailSink(drawing, write, labelled=labelled)


def thumbnail(result: ImageResult) -> bytes:
    """Return the line of an image.

    ``photo`` and ``heatmap`` are WebP, ``mask`` and ``truth`` contours in PNG, all to be laid over each other; the last
    two are null where there is no defect or it is unknown. ``size`` is the height and width of the image itself.
    """
    picture = as_image(picture_of(result))
    width, height = picture.size
    size = bounded((height, width), SIDE)
    photo = picture.resize(size[::-1], Resampling.HAMMING, reducing_gap=2)
    heatmap = transparent_heatmap(result.anomaly_map, bounded((height, width), HEATMAP_SIDE))
    content = {
        "path": written_path(result),
        "size": [height, width],
        "photo": encoded(photo, "WEBP", **PACKED),
        "heatmap": encoded(heatmap, "WEBP", **PACKED),
        "mask": drawn_contour(result.mask, size, CONTOUR),
        "truth": drawn_contour(result.ground_truth, size, DEFECT),
    }
    return (json.dumps(content) + "\n").encode()


def bounded(size: ImageSize, side: int) -> ImageSize:
    """Return height and width with the same ratio, at most ``side``."""
    scale = min(1, side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def drawn_contour(mask: NDArray[np.bool_] | None, size: ImageSize, colour: Colour) -> str | None:
    """Return the contour of a mask on a transparent ground; None if it is empty or unknown."""
    if mask is None or not mask.any():
        return None
    line = Image.fromarray(contour(mask, size).view(np.uint8))
    line.putpalette([0, 0, 0, *colour])
    return encoded(line, "PNG", bits=1, transparency=0)


def encoded(image: Image.Image, kind: str, **options: Any) -> str:
    """Return the file of an image as text (base64)."""
    file = BytesIO()
    image.save(file, kind, **options)
    return b64encode(file.getvalue()).decode()
