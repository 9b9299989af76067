"""Names of pictures: which images get one, and where it goes."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from anomalib_flows.core.types import ANOMALOUS, Sample

T = TypeVar("T")
logger = logging.getLogger(__name__)


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
    """Replace the suffix of each file, or append the new one throughout a folder where two names would be equal."""
    replaced = [path.with_suffix(suffix) for path in paths]
    # Windows and macOS do not distinguish A.png from a.png.
    counts = Counter(str(name).casefold() for name in replaced)
    ambiguous = {str(name.parent).casefold() for name in replaced if counts[str(name).casefold()] > 1}
    appended = [path.with_name(path.name + suffix) for path in paths]
    return [a if str(a.parent).casefold() in ambiguous else r for a, r in zip(appended, replaced, strict=True)]
