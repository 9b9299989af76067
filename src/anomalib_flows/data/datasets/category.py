"""Datasets of several categories, of which one is read."""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from anomalib_flows.core.types import NORMAL, Sample
from anomalib_flows.data.datasets.base import Dataset
from anomalib_flows.data.datasets.card import Card, Counts


@dataclass(kw_only=True)
class CategoryDataset(Dataset):
    """Read one category of a dataset.

    Args:
        root: Folder of the categories.
        category: Name of the category.
    """

    root: Path
    category: str

    @property
    def subset(self) -> str:
        """Name of the category."""
        return Path(self.root, self.category).absolute().name


def count(samples: list[Sample]) -> Counts:
    """Count the images of each split and label."""
    found: Counter[tuple[str, bool]] = Counter((sample.split, sample.label == NORMAL) for sample in samples)
    uses = (("train", True), ("test", True), ("test", False), ("calibration", True))
    return Counts(*(found[use] for use in uses))


def warn_of_other_counts(samples: list[Sample], card: Card | None, category: str) -> None:
    """Warn if a published category has other numbers of images than published."""
    published = card.counts.get(category) if card else None
    found = count(samples)
    if card and published and found != published:
        warnings.warn(
            f"{category} of {card.title} is published with {in_words(published)}; here are {in_words(found)}: "
            "do not compare the metrics with published ones.",
            stacklevel=3,
        )


def in_words(counts: Counts) -> str:
    """Return numbers of images as text."""
    held_out = f", {counts.calibration} to calibrate with" if counts.calibration else ""
    return (
        f"{counts.train} images to train on{held_out} and {counts.test_good} good and {counts.test_defective} "
        "defective ones to test on"
    )
