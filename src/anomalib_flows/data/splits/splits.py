"""Random parts of a list of images, and the record of which image served for what."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Container, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.files import atomic
from anomalib_flows.core.types import Sample, Split
from anomalib_flows.data.listing.table import read_table

COLUMNS = ("split", "label", "defect", "path", "mask")


def hold_out(
    samples: list[Sample], fraction: float, seed: int, same: Mapping[Path, Path] | None = None
) -> list[Sample]:
    """Move a random part of the training images, at least one, to the calibration split, unless that has images.

    Args:
        samples: Images of any split; those of others stay as they are.
        fraction: Share of the training images to move.
        seed: Decides with the paths, and not with the order of the samples, which images are moved.
        same: Images of the same content, which stay together, see :func:`~.duplicates.duplicates`.

    Raises:
        InputError: If there are fewer than 2 training images of different content, or the seed is negative.
    """
    training = [sample.path for sample in samples if sample.split == "train"]
    if any(sample.split == "calibration" for sample in samples) and training:
        return samples
    held = draw_subset(training, fraction, seed, same)
    if not held:
        there = "all have the same content" if len(training) > 1 else "there is 1" if training else "there are none"
        raise InputError(f"At least 2 training images are needed, one to train on and one to calibrate with: {there}.")
    return moved(samples, held, "calibration")


def moved(samples: list[Sample], held: Container[Path], split: Split) -> list[Sample]:
    """Move some training images to another split."""
    return [replace(s, split=split) if s.split == "train" and s.path in held else s for s in samples]


def draw_subset(paths: Iterable[Path], fraction: float, seed: int, same: Mapping[Path, Path] | None = None) -> set[Path]:
    """Draw a random part of paths, taking at least one and leaving at least one; nothing where that is impossible.

    Args:
        paths: What to draw from.
        fraction: Share to draw; images of the same content may make it smaller, or larger where there are no others.
        seed: Decides with the paths what is drawn.
        same: Images of the same content, of which all or none are drawn.

    Raises:
        InputError: If the seed is negative.
    """
    if seed < 0:
        raise InputError(f"The seed is {seed}: give 0 or more.")
    groups = _together(paths, same or {})
    if len(groups) < 2:
        return set()
    count = max(1, round(fraction * sum(map(len, groups))))
    drawn: set[Path] = set()
    for i in np.random.default_rng(seed).permutation(len(groups))[:-1]:
        if len(drawn) + len(groups[i]) <= count:
            drawn.update(groups[i])
    smallest = min(groups, key=len)
    return drawn or set(smallest)


def _together(paths: Iterable[Path], same: Mapping[Path, Path]) -> list[list[Path]]:
    """Group images of the same content, in an order that depends on the paths alone."""
    groups = defaultdict(list)
    for path in sorted(paths):
        groups[same.get(path, path)].append(path)
    return [groups[first] for first in sorted(groups)]


def write_splits(samples: list[Sample], file: Path) -> None:
    """Write which image serves for what to a CSV file, with absolute paths."""
    with (
        atomic(file) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape") as stream,
    ):
        writer = csv.writer(stream)
        writer.writerow(COLUMNS)
        for s in samples:
            writer.writerow((s.split, s.label, s.defect, s.path.absolute(), s.mask.absolute() if s.mask else ""))


def read_splits(file: Path) -> list[Sample]:
    """Read what :func:`write_splits` wrote.

    Raises:
        InputError: If the file is missing or no such record.
    """
    rows = read_table(file, COLUMNS)
    try:
        return [_sample(row) for row in rows]
    except ValueError as error:
        raise InputError(f"{file} is no record of splits: {error}.") from error


def _sample(row: dict[str, str]) -> Sample:
    mask = Path(row["mask"]) if row["mask"] else None
    return Sample(Path(row["path"]), cast("Split", row["split"]), int(row["label"]), row["defect"], mask)
