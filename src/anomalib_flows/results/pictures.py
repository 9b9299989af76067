"""Sinks that draw: figures of a tested set, and heatmap, overlay and mask of each predicted image."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from anomalib_flows.core.files import atomic
from anomalib_flows.core.images import Pixels, read_pixels
from anomalib_flows.core.parallel import default_threads
from anomalib_flows.core.types import ImageResult
from anomalib_flows.results.figure import figure
from anomalib_flows.results.figures import FigureName
from anomalib_flows.results.heatmap import as_image, heatmap, mask_image, overlay


class Drawing:
    """Draw in threads, with a bounded number of pictures in memory: Pillow packs files without Python's global lock."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self.pool, self.pending = pool, deque[Future[None]]()
        self.limit = 2 * default_threads()

    def submit(self, draw: Callable[..., None], *arguments: Any) -> None:
        """Draw a picture, and wait for the oldest one if many are pending; raise its error if it failed."""
        self.pending.append(self.pool.submit(draw, *arguments))
        if len(self.pending) > self.limit:
            self.pending.popleft().result()


@contextmanager
def drawing() -> Iterator[Drawing]:
    """Start threads that draw, and wait for their pictures at the end."""
    with ThreadPoolExecutor(default_threads()) as pool:
        started = Drawing(pool)
        yield started
        for picture in started.pending:
            picture.result()


class FigureSink:
    """Write a figure (JPEG) of each chosen image, by the image's path; the threshold is that of raw scores."""

    def __init__(self, drawing: Drawing, folder: Path, figures: Mapping[Path, FigureName], threshold: float) -> None:
        self.drawing, self.folder, self.figures, self.threshold = drawing, folder, figures, threshold

    def add(self, result: ImageResult) -> None:
        """Draw the figure of an image that was chosen."""
        if result.sample and (name := self.figures.get(result.sample.path)):
            self.drawing.submit(self._draw, result, name)

    def _draw(self, result: ImageResult, name: FigureName) -> None:
        save_image(figure(result, picture_of(result), self.threshold, name.title), self.folder / name.file)


class PictureSink:
    """Write heatmap, overlay and mask of each image, at its size: FOLDER/heatmap/NAME and so on.

    ``name`` returns the relative path of an image's pictures, with the suffix ``.png``.
    """

    def __init__(self, drawing: Drawing, folder: Path, name: Callable[[ImageResult], Path]) -> None:
        self.drawing, self.folder, self.name = drawing, folder, name

    def add(self, result: ImageResult) -> None:
        """Write the pictures of an image."""
        self.drawing.submit(self._draw, result, self.name(result))

    def _draw(self, result: ImageResult, name: Path) -> None:
        image = as_image(picture_of(result))
        size = (image.height, image.width)
        save_image(heatmap(result.anomaly_map, size), self.folder / "heatmap" / name)
        save_image(overlay(image, result.anomaly_map, result.mask), self.folder / "overlay" / name)
        save_image(mask_image(result.mask, size), self.folder / "mask" / name)


def picture_of(result: ImageResult) -> Pixels:
    """Return the image of a result, read now if it was not kept."""
    if result.picture is not None:
        return np.asarray(result.picture)
    if result.sample is None:
        raise ValueError("A result without a picture needs an image file.")
    return read_pixels(result.sample.path)


def save_image(image: Image.Image, file: Path) -> None:
    """Write an image, quickly instead of small; the suffix chooses the format."""
    with atomic(file) as temporary:
        # PNG ignores the last two options and JPEG the first. Without subsampling=0 thin red lines blur.
        image.save(temporary, compress_level=1, quality=90, subsampling=0)
