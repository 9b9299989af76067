"""Draw splits at random, and record which image belongs to which split."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Container, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np

from anomalib_flows.core.errors import FieldError, InputError
from anomalib_flows.core.files import atomic
from anomalib_flows.core.types import Sample, Split
from anomalib_flows.data.listing.table import read_table

COLUMNS = ("split", "label", "defect", "path", "mask")


def hold_out(
    samples: list[Sample], fraction: float, seed: int, same: Mapping[Path, Path] | None = None
) -> list[Sample]:
    """Move a random part of the training images, at least one, to the calibration split, unless it has images.

    The seed and the paths determine the part; the order of the samples does not matter. Images of the same content stay
    together: ``same`` is the result of :func:`~.duplicates.find_duplicates`.
    """
    training = [sample.path for sample in select(samples, "train")]
    if training and select(samples, "calibration"):
        return samples
    held = draw_subset(training, fraction, seed, same)
    if not held:
        found = "all have the same content" if len(training) > 1 else "there is 1" if training else "there are none"
        raise InputError(f"At least 2 training images are needed, one to train on and one to calibrate with: {found}.")
    return moved(samples, held, "calibration")


def select(samples: Iterable[Sample], split: Split) -> list[Sample]:
    """Return the samples of a split."""
    return [sample for sample in samples if sample.split == split]


def moved(samples: list[Sample], held: Container[Path], split: Split) -> list[Sample]:
    """Move those training images whose paths are held to another split."""
    return [replace(s, split=split) if s.split == "train" and s.path in held else s for s in samples]


def draw_subset(
    paths: Iterable[Path], fraction: float, seed: int, same: Mapping[Path, Path] | None = None
) -> set[Path]:
    """Draw a random part of paths, at least one but not all; an empty set if that is impossible.

    The seed and the paths determine the part. Images of the ``same`` content are drawn together or not at all, which
    may make the part smaller than the fraction, or larger if there are no others.
    """
    if seed < 0:
        raise FieldError("seed", seed, "at least 0")
    groups = _groups_of(paths, same or {})
    if len(groups) < 2:
        return set()
    count = max(1, round(fraction * sum(map(len, groups))))
    drawn: set[Path] = set()
    for i in np.random.default_rng(seed).permutation(len(groups))[:-1]:
        if len(drawn) + len(groups[i]) <= count:
            drawn.update(groups[i])
    smallest = min(groups, key=len)
    return drawn or set(smallest)


def _groups_of(paths: Iterable[Path], same: Mapping[Path, Path]) -> list[list[Path]]:
    """Group images of the same content, in an order that depends only on the paths."""
    groups = defaultdict(list)
    for path in sorted(paths):
        groups[same.get(path, path)].append(path)
    return [groups[first] for first in sorted(groups)]


def write_splits(samples: list[Sample], file: Path) -> None:
    """Write the split of each image to a CSV file, with absolute paths."""
    with (
        atomic(file) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape") as stream,
    ):
        writer = csv.writer(stream)
        writer.writerow(COLUMNS)
        for s in samples:
            writer.writerow((s.split, s.label, s.defect, s.path.absolute(), s.mask.absolute() if s.mask else ""))


def read_splits(file: Path) -> list[Sample]:
    """Read a file of :func:`write_splits`."""
    rows = read_table(file, COLUMNS)
    try:
        return [_sample(row) for row in rows]
    except ValueError as error:
        raise InputError(f"{file} is not a record of splits ({error}): name the splits.csv of a run.") from error


def _sample(row: dict[str, str]) -> Sample:
    mask = Path(row["mask"]) if row["mask"] else None
    return Sample(Path(row["path"]), cast("Split", row["split"]), int(row["label"]), row["defect"], mask)
