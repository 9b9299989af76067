"""Figures of a tested set: which images get one, and where it goes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from anomalib_flows.core.files import fresh_folder
from anomalib_flows.results.files import write_figures
from anomalib_flows.results.result import Result
from anomalib_flows.core.types import ANOMALOUS
from anomalib_flows.core.errors import require

T = TypeVar("T")

PICTURES = 1000
"""How many figures are drawn unless told otherwise: of every image, but for sets of many thousands."""


def require_count(most: int) -> None:
    """Refuse a number of figures below 0.

    Raises:
        InputError: If it is.
    """
    require(most >= 0, "--pictures", most, "at least 0, which draws none")


def draw_figures(results: Sequence[Result], folder: Path, drawn: Path, most: int) -> None:
    """Replace a folder of figures; images with drawn defects lie apart, and are set beside the good ones.

    Args:
        results: What was tested.
        folder: Where the figures go; without any there is no such folder.
        drawn: Where images with drawn defects lie.
        most: How many figures are drawn, at most.
    """
    spoilt = [result.path.is_relative_to(drawn) for result in results]
    root = Path(os.path.commonpath([r.path.absolute().parent for r, s in zip(results, spoilt, strict=True) if not s]))
    places = {True: (folder, drawn), False: (folder / "good" if any(spoilt) else folder, root)}
    chosen = choose([result.label == ANOMALOUS for result in results], most)
    if len(chosen) < len(results):
        tqdm.write(f"Pictures are drawn of {len(chosen)} of {len(results)} images (--pictures).")
    with fresh_folder(folder) as temporary:
        for apart, (place, base) in places.items():
            some = [results[i] for i in chosen if spoilt[i] == apart]
            if some:
                write_figures(some, temporary / place.relative_to(folder), base)
    if not chosen:
        folder.rmdir()


def choose(anomalous: Sequence[bool], most: int) -> list[int]:
    """Choose images to show, half of them anomalous as far as there are enough of both, each half evenly apart.

    Args:
        anomalous: Whether each image is anomalous.
        most: How many to choose, at most.

    Returns:
        Indices of images, in order.

    Example:
        >>> choose([True, False, False, False, False, False, True, True], 4)
        [0, 1, 5, 7]
    """
    defective = [i for i, known in enumerate(anomalous) if known]
    normal = [i for i, known in enumerate(anomalous) if not known]
    share = max((most + 1) // 2, most - len(normal))
    shown = spread(defective, share)
    return sorted([*shown, *spread(normal, most - len(shown))])


def spread(items: Sequence[T], count: int) -> Sequence[T]:
    """Take so many items, evenly apart, from the first to the last."""
    if len(items) <= count:
        return items
    return [items[i * (len(items) - 1) // max(1, count - 1)] for i in range(count)]
