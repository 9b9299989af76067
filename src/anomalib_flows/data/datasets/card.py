"""Facts about published datasets: origin, licence and numbers of images."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from anomalib_flows.core.types import NORMAL, Sample


class Counts(NamedTuple):
    """Numbers of images of a category; ``calibration`` counts the normal images that the makers call validation."""

    train: int
    test_good: int
    test_defective: int
    calibration: int = 0


@dataclass(frozen=True)
class Archive:
    """A published archive of a dataset.

    Args:
        file: Name of the file.
        url: Address to download it from; empty if a form must be filled in first.
        checksum: Published digest as ``sha256:...`` or ``md5:...``; empty if none is published.
        category: Category that it has; empty if it has all.
    """

    file: str
    url: str = ""
    checksum: str = ""
    category: str = ""


@dataclass(frozen=True)
class Card:
    """Facts about a published dataset.

    Args:
        title: Published name.
        homepage: Page of its makers.
        licence: Licence, and what it forbids.
        citation: Paper to cite.
        counts: Published numbers of images of each category.
        archives: Published files.
    """

    title: str
    homepage: str
    licence: str
    citation: str
    counts: Mapping[str, Counts] = field(default_factory=dict)
    archives: tuple[Archive, ...] = ()

    def archive(self, name: str) -> Archive:
        """Return the facts about the archive with a file name; about other files nothing is known."""
        return next((archive for archive in self.archives if archive.file == name), Archive(name))


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
