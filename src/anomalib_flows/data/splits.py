"""Random parts of a list of images, and the record of which image served for what."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np

from anomalib_flows.files import atomic
from anomalib_flows.types import InputError, Sample, Split

COLUMNS = ("split", "label", "defect", "path", "mask")


def hold_out(samples: list[Sample], fraction: float, seed: int) -> list[Sample]:
    """Move a random part of the training images, at least one, to the calibration split.

    Args:
        samples: Images of any split; those of others stay as they are.
        fraction: Share of the training images to move.
        seed: Decides with the paths, and not with the order of the samples, which images are moved.

    Raises:
        InputError: If there are fewer than 2 training images, or the seed is negative.
    """
    training = [sample.path for sample in samples if sample.split == "train"]
    if len(training) < 2:
        raise InputError(
            f"At least 2 training images are needed, one to train on and one to calibrate with: there "
            f"{'is 1' if training else 'are none'}."
        )
    held = draw(training, fraction, seed)
    return [
        replace(sample, split="calibration") if sample.split == "train" and sample.path in held else sample
        for sample in samples
    ]


def draw(paths: Iterable[Path], fraction: float, seed: int) -> set[Path]:
    """Draw a random part of two or more paths, leaving at least one and taking at least one.

    Raises:
        InputError: If the seed is negative.
    """
    if seed < 0:
        raise InputError(f"The seed is {seed}: give 0 or more.")
    ordered = sorted(paths)
    count = min(max(1, round(fraction * len(ordered))), len(ordered) - 1)
    order = np.random.default_rng(seed).permutation(len(ordered))
    return {ordered[i] for i in order[:count]}


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
    try:
        with file.open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
            return [_sample(row) for row in csv.DictReader(stream, strict=True)]
    except FileNotFoundError as error:
        raise InputError(f"{file} does not exist: check the path.") from error
    except (KeyError, ValueError, TypeError, csv.Error) as error:
        raise InputError(f"{file} is not a record of splits: its columns are {','.join(COLUMNS)}.") from error


def _sample(row: dict[str, str]) -> Sample:
    mask = Path(row["mask"]) if row["mask"] else None
    return Sample(Path(row["path"]), cast("Split", row["split"]), int(row["label"]), row["defect"], mask)
