"""Choose which images of a tested set get a figure, and name the figures."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from anomalib_flows.core.types import ANOMALOUS, Sample
from anomalib_flows.results.names import common_root, relative, unique_names

T = TypeVar("T")
logger = logging.getLogger(__name__)


class FigureName(NamedTuple):
    """Where the figure of an image goes, and its title.

    Args:
        file: Path below the folder of figures.
        title: Name of the image.
    """

    file: Path
    title: str


def name_figures(samples: Sequence[Sample], synthetic: Path, limit: int) -> dict[Path, FigureName]:
    """Choose images, and name a figure of each.

    Sub-folders of the images are kept. Images with synthetic defects lie elsewhere; their figures are put beside those
    of the others, which go to ``good`` then.

    Args:
        samples: The tested images.
        synthetic: Folder of the images with synthetic defects.
        limit: Largest number of figures.

    Returns:
        The figures, by the path of the image.
    """
    chosen = [samples[i] for i in choose([sample.label == ANOMALOUS for sample in samples], limit)]
    if len(chosen) < len(samples):
        logger.info("Figures are drawn of %d of %d images (`pictures`).", len(chosen), len(samples))
    apart = [sample.path for sample in chosen if sample.path.is_relative_to(synthetic)]
    others = [sample.path for sample in chosen if not sample.path.is_relative_to(synthetic)]
    root = common_root([sample.path for sample in samples if not sample.path.is_relative_to(synthetic)] or apart)
    mixed = any(sample.path.is_relative_to(synthetic) for sample in samples)
    return _named(apart, synthetic, "") | _named(others, root, "good" if mixed else "")


def _named(paths: Sequence[Path], root: Path, folder: str) -> dict[Path, FigureName]:
    names = [relative(path, root) for path in paths]
    files = [Path(folder, name) for name in unique_names(names, ".jpg")]
    return {path: FigureName(file, name.as_posix()) for path, name, file in zip(paths, names, files, strict=True)}


def choose(anomalous: Sequence[bool], limit: int) -> list[int]:
    """Choose images to show, half of them anomalous where possible, evenly spaced.

    Args:
        anomalous: Whether each image is anomalous.
        limit: Largest number of images.

    Returns:
        Indices of images, in order.

    Example:
        >>> choose([True, False, False, False, False, False, True, True], 4)
        [0, 1, 5, 7]
    """
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
