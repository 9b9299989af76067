"""Sinks that draw, and names of pictures: which images get one, and where it goes."""

from __future__ import annotations

import logging
import math
import os
from collections import Counter
from collections.abc import Callable, Container, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from anomalib_flows.core.files import atomic
from anomalib_flows.core.finding import mark_results
from anomalib_flows.core.images import Pixels, read_pixels
from anomalib_flows.core.types import ANOMALOUS, ImageResult, Pictured, PictureKind, Sample
from anomalib_flows.results.caption import label_image
from anomalib_flows.results.drawing import Drawing
from anomalib_flows.results.figure import figure
from anomalib_flows.results.heatmap import heatmap, mask_image, overlay

T = TypeVar("T")
logger = logging.getLogger(__name__)


PICTURES: tuple[PictureKind, ...] = ("heatmap", "overlay", "mask")
"""Kinds of pictures that are made by default; each kind has a folder."""


class FigureName(NamedTuple):
    """Where the figure of an image goes, below the folder of figures, and its title."""

    file: Path
    title: str


def name_figures(samples: Sequence[Sample], synthetic: Path, limit: int) -> dict[Path, FigureName]:
    """Choose at most ``limit`` images, and name a figure of each, by the path of the image.

    Sub-folders of the images are kept. Images with synthetic defects lie in a folder of their own, ``synthetic``; their
    figures are put beside those of the others, which go to ``good`` then.
    """
    chosen = [samples[i] for i in choose([sample.label == ANOMALOUS for sample in samples], limit)]
    if len(chosen) < len(samples):
        logger.info("Figures are drawn of %d of %d images (`pictures`).", len(chosen), len(samples))
    apart = [sample.path for sample in chosen if sample.path.is_relative_to(synthetic)]
    others = [sample.path for sample in chosen if not sample.path.is_relative_to(synthetic)]
    real = [sample.path for sample in samples if not sample.path.is_relative_to(synthetic)]
    good = "good" if len(real) < len(samples) else ""
    return _named(apart, synthetic, "") | _named(others, common_root(real or apart), good)


def _named(paths: Sequence[Path], root: Path, folder: str) -> dict[Path, FigureName]:
    names = [relative(path, root) for path in paths]
    files = [Path(folder, name) for name in unique_names(names, ".jpg")]
    return {path: FigureName(file, name.as_posix()) for path, name, file in zip(paths, names, files, strict=True)}


def choose(anomalous: Sequence[bool], limit: int) -> list[int]:
    """Choose the indices of at most ``limit`` images, half of them anomalous where possible, evenly spaced."""
    defective = [i for i, known in enumerate(anomalous) if known]
    normal = [i for i, known in enumerate(anomalous) if not known]
    share = max((limit + 1) // 2, limit - len(normal))
    shown = evenly_spaced(defective, share)
    return sorted([*shown, *evenly_spaced(normal, limit - len(shown))])


def evenly_spaced(items: Sequence[T], count: int) -> Sequence[T]:
    """Return ``count`` items, evenly spaced from the first to the last."""
    if len(items) <= count:
        return items
    return [items[i * (len(items) - 1) // max(1, count - 1)] for i in range(count)]


def relative(path: Path, root: Path) -> Path:
    """Return the path below ``root``; for a file elsewhere the whole path, without its drive or leading slash."""
    # Not resolve: a folder of links to images keeps its own names.
    path, root = (Path(os.path.normpath(p.absolute())) for p in (path, root))
    return path.relative_to(root if path.is_relative_to(root) else path.anchor)


def common_root(paths: Sequence[Path]) -> Path:
    """Return the deepest folder that holds all files."""
    return Path(os.path.commonpath([path.absolute().parent for path in paths]))


def unique_names(paths: Sequence[Path], suffix: str) -> list[Path]:
    """Replace the suffix of each file, or append the new one throughout a folder where two names would be equal.

    No name is that of a folder of another file: ``x.jpg`` may lie beside a folder ``x.png``.
    """
    replaced = [path.with_suffix(suffix) for path in paths]
    # Windows and macOS do not distinguish A.png from a.png.
    taken = Counter(str(name).casefold() for name in replaced)
    folders = {str(folder).casefold() for path in paths for folder in path.parents}
    taken.update(folders)
    ambiguous = {str(name.parent).casefold() for name in replaced if taken[str(name).casefold()] > 1}
    appended = [_appended(path, suffix, folders) for path in paths]
    return [a if str(a.parent).casefold() in ambiguous else r for a, r in zip(appended, replaced, strict=True)]


def _appended(path: Path, suffix: str, folders: Container[str]) -> Path:
    """Append a suffix until the name is not that of a folder; no two files get one name, as none has that of a folder.

    Example:
        >>> _appended(Path("x.jpg"), ".png", {"x.jpg.png"}).as_posix()
        'x.jpg.png.png'
    """
    name = path.with_name(path.name + suffix)
    return _appended(name, suffix, folders) if str(name).casefold() in folders else name


class FigureSink:
    """Write a figure (JPEG) of each chosen image, by the image's path."""

    def __init__(self, drawing: Drawing, folder: Path, figures: Mapping[Path, FigureName]) -> None:
        self.drawing, self.folder, self.figures = drawing, folder, figures
        if figures:
            mark_results(folder)

    def add(self, result: ImageResult) -> None:
        """Draw the figure of an image that was chosen."""
        if result.sample and (name := self.figures.get(result.sample.path)):
            self.drawing.submit(self._draw, result, name)

    def _draw(self, result: ImageResult, name: FigureName) -> None:
        save_image(figure(result, picture_of(result), name.title), self.folder / name.file)


class PictureSink:
    """Write pictures of the chosen images, at their size: FOLDER/heatmap/NAME and so on.

    ``name`` returns the relative path of an image's pictures, with the suffix ``.png``; ``kinds`` choose among them.
    Maps are arrays in numpy's format instead, before they are normalised; those of exported models are from 0 to 1.
    """

    def __init__(
        self,
        drawing: Drawing,
        folder: Path,
        name: Callable[[ImageResult], Path],
        kinds: Sequence[PictureKind] = PICTURES,
        chosen: Pictured = "all",
    ) -> None:
        self.drawing, self.folder, self.name, self.kinds, self.chosen = drawing, folder, name, kinds, chosen
        self.seen = 0  # images before, which count among the first N
        for kind in kinds if chosen not in ("none", 0) else ():
            mark_results(folder / kind)

    def add(self, result: ImageResult) -> None:
        """Write the pictures of an image that was chosen."""
        self.seen += 1
        first = self.chosen if isinstance(self.chosen, int) else 0
        if self.chosen == "all" or self.seen <= first or (self.chosen == "anomalous" and result.label == ANOMALOUS):
            self.drawing.submit(self._draw, result, self.name(result))

    def _draw(self, result: ImageResult, name: Path) -> None:
        picture = picture_of(result)
        size = picture.shape[0], picture.shape[1]
        if "heatmap" in self.kinds:
            save_image(heatmap(result.anomaly_map, size), self.folder / "heatmap" / name)
        if "overlay" in self.kinds:
            drawn = overlay(picture, result.anomaly_map, result.mask)
            label_image(drawn, result)
            save_image(drawn, self.folder / "overlay" / name)
        if "mask" in self.kinds:
            save_image(mask_image(result.mask, size), self.folder / "mask" / name)
        if "maps" in self.kinds:
            values = result.anomaly_map if result.raw_map is None else result.raw_map
            save_map(values, self.folder / "maps" / name.with_suffix(".npy"))


def picture_of(result: ImageResult) -> Pixels:
    """Return the image of a result, read now if it was not kept."""
    if result.picture is not None:
        return np.asarray(result.picture)
    if result.sample is None:
        raise ValueError("A result without a picture needs an image file.")
    return read_pixels(result.sample.path, math.inf)  # its size was checked when it was predicted


def save_image(image: Image.Image, file: Path) -> None:
    """Write an image, quickly instead of small; the suffix chooses the format."""
    with atomic(file, flush=False) as temporary:  # a flush of each picture takes longer than drawing it
        # PNG ignores the last two options and JPEG the first. Without subsampling=0 thin red lines blur.
        image.save(temporary, compress_level=1, quality=90, subsampling=0)


def save_map(values: NDArray[np.float32], file: Path) -> None:
    """Write an array: numpy's format keeps each value and the shape, and no program takes it for a picture."""
    with atomic(file, flush=False) as temporary:
        np.save(temporary, values, allow_pickle=False)
