"""Tables of images, in CSV or JSON: which file serves for what."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TextIO, cast, get_args

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.types import ANOMALOUS, GOOD, NORMAL, Sample, Split

LABELS = dict.fromkeys(("0", "good", "normal", "ok"), NORMAL) | dict.fromkeys(
    ("1", "bad", "anomaly", "abnormal", "anomalous", "defective", "ko", "ng"), ANOMALOUS
)
"""How tables name good and defective images, in lower case."""


def read_table(file: Path, columns: Iterable[str]) -> list[dict[str, str]]:
    """Read the rows of a CSV file with a head, or of a JSON file with a list of objects, as text.

    Args:
        file: The table; JSON if its suffix says so.
        columns: Columns that it must have; others are read too.

    Raises:
        InputError: If the file is missing, no such table, or lacks a column.
    """
    try:
        with file.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as stream:
            rows = _read_json(stream) if file.suffix.lower() == ".json" else _read_csv(stream, columns)
    except FileNotFoundError as error:
        raise InputError(f"{file} does not exist: check the path.") from error
    except IsADirectoryError as error:
        raise InputError(f"{file} is a folder: name the CSV or JSON file in it that lists the images.") from error
    except (ValueError, csv.Error) as error:
        raise InputError(f"{file} is no table of images ({error}): mend it, or name another one.") from error
    for number, row in enumerate(rows, 1):
        if missing := [name for name in columns if name not in row]:
            raise InputError(f"Entry {number} of {file} lacks {', '.join(missing)}: add it.")
    return rows


def _read_csv(stream: TextIO, columns: Iterable[str]) -> list[dict[str, str]]:
    reader = csv.DictReader(stream, strict=True)
    if missing := [name for name in columns if name not in (reader.fieldnames or ())]:
        raise ValueError(f"its first line does not name the column {missing[0]}, separated by commas")
    return [_as_text(row) for row in reader]


def _read_json(stream: TextIO) -> list[dict[str, str]]:
    rows = json.load(stream)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError("it is not a list of objects")
    return [_as_text(row) for row in rows]


def _as_text(row: Mapping[Any, Any]) -> dict[str, str]:
    """Turn values into text, and those that are missing into none; a row with too many is no row."""
    if None in row:
        raise ValueError(f"a row has more values than there are columns: {', '.join(row[None])} is left over")
    return {key: "" if value is None else str(value) for key, value in row.items()}


def samples_of(rows: Iterable[Mapping[str, str]], file: Path, folder: Path) -> list[Sample]:
    """Turn rows into samples.

    Args:
        rows: ``path``, and as far as they say so ``label`` (else good), ``split`` (else good images train and
            defective ones test), ``mask`` and ``defect``. The mask of a good image is not read.
        file: Where they come from, for errors.
        folder: What their paths are relative to.

    Raises:
        InputError: If a row is of no use or names an image again.
    """
    samples: dict[Path, Sample] = {}
    for row in rows:
        try:
            sample = _sample(row, folder)
        except ValueError as error:
            raise InputError(f"{file} says of '{row['path']}' {error}.") from error
        if sample.path in samples:
            raise InputError(f"{file} names {sample.path} twice: leave one out.")
        samples[sample.path] = sample
    return list(samples.values())


def _sample(row: Mapping[str, str], folder: Path) -> Sample:
    """Turn a row into a sample, or raise a ValueError with what is wrong."""
    if not row["path"]:
        raise ValueError("nothing: every row needs a path")
    path, label = folder / row["path"], _label(row.get("label") or GOOD)
    split = _split(row.get("split") or ("train" if label == NORMAL else "test"))
    if label == NORMAL:
        return Sample(path, split)
    if split in ("train", "calibration"):
        raise ValueError(f"that it is defective and of split {split}, which takes good images only")
    defect = row.get("defect") or "defective"
    if defect == GOOD:
        raise ValueError("that it is defective and its defect is 'good'")
    return Sample(path, split, ANOMALOUS, defect, folder / row["mask"] if row.get("mask") else None)


def _label(text: str) -> int:
    if text.lower() not in LABELS:
        raise ValueError(f"that its label is '{text}': there are {', '.join(LABELS)}")
    return LABELS[text.lower()]


def _split(text: str) -> Split:
    if text not in get_args(Split):
        raise ValueError(f"that its split is '{text}': there are {', '.join(get_args(Split))}")
    return cast("Split", text)
