"""Small pictures of the images for the report: a line of JSON for each, of bounded size and number."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO, FileIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.Image import Resampling

from anomalib_flows.core.types import ANOMALOUS, ImageResult, ImageSize
from anomalib_flows.results.figure import DEFECT
from anomalib_flows.results.heatmap import CONTOUR, Colour, as_image, contour, transparent_heatmap
from anomalib_flows.results.pictures import Drawing, picture_of
from anomalib_flows.results.sinks import growing, write_whole, written_path

SIDE, HEATMAP_SIDE = 192, 96
"""Greatest height and width of a thumbnail and of its heatmap in pixels; heatmaps are smooth and are enlarged well."""
PACKED = {"quality": 70, "alpha_quality": 70, "method": 0}
"""Options of WebP; ``method`` is the effort, from 0 to 6: more of it takes longer and saves next to nothing."""
FIRST, MOST = 2000, 4000
"""Number of images from which on only those to look at have a thumbnail, and greatest number of thumbnails."""


class ThumbnailSink:
    """Write a line for each image to a file from :func:`open_thumbnails`, in their order.

    The first 2,000 images have a thumbnail, then those with a wrong decision, or without ground truth the anomalous
    ones, until there are 4,000.
    """

    def __init__(self, drawing: Drawing, stream: FileIO, *, labelled: bool) -> None:
        self.drawing, self.stream, self.labelled, self.count = drawing, stream, labelled, 0

    def add(self, result: ImageResult) -> None:
        """Draw the thumbnail of an image that has one."""
        to_look_at = result.wrong if self.labelled else result.label == ANOMALOUS
        if self.count < FIRST or (to_look_at and self.count < MOST):
            self.count += 1
            self.drawing.submit(thumbnail, result, then=self._write)

    def _write(self, line: bytes) -> None:
        write_whole(self.stream, line)


@contextmanager
def open_thumbnails(file: Path, drawing: Drawing, *, labelled: bool, keep: bool = False) -> Iterator[ThumbnailSink]:
    """Open a file of thumbnails, which are drawn in threads and kept like the rows of a table."""
    with growing(file, keep=keep) as stream, drawing.finished():
        yield ThumbnailSink(drawing, stream, labelled=labelled)


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
