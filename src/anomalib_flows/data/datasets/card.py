"""What is known of a published dataset: where it comes from, what one may do with it, and how large it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple


class Counts(NamedTuple):
    """Numbers of images of a category; ``calibration`` are normal ones that the makers set apart for validation."""

    train: int
    test_good: int
    test_defective: int
    calibration: int = 0


@dataclass(frozen=True)
class Archive:
    """A file that the makers of a dataset publish.

    Args:
        file: Name of the file.
        url: Address that it can be had from without a form to fill in; empty if there is none.
        checksum: Published digest as ``sha256:...`` or ``md5:...``; empty if none is published.
        category: The category that it holds; empty if it holds all.
    """

    file: str
    url: str = ""
    checksum: str = ""
    category: str = ""


@dataclass(frozen=True)
class Card:
    """Facts about a published dataset.

    Args:
        title: Its name as published.
        homepage: Where its makers describe it.
        licence: What one may do with it.
        citation: The paper to cite.
        counts: Number of images of each category as published.
        archives: The files that it is published as.
    """

    title: str
    homepage: str
    licence: str
    citation: str
    counts: Mapping[str, Counts] = field(default_factory=dict)
    archives: tuple[Archive, ...] = ()
