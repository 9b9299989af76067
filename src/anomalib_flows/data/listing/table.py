"""Read tables of images, in CSV or JSON."""

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
"""Words for good and defective images in tables, in lower case."""


def read_table(file: Path, columns: Iterable[str]) -> list[dict[str, str]]:
    """Read the rows of a CSV file with a header, or of a JSON file with a list of objects, as text.

    A file is JSON if its suffix is ``.json``. It must have the given columns; others are read as well.
    """
    try:
        with file.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as stream:
            rows = _read_json(stream) if file.suffix.lower() == ".json" else _read_csv(stream, columns)
    except FileNotFoundError as error:
        raise InputError(f"{file} does not exist: check the path.") from error
    except IsADirectoryError as error:
        raise InputError(f"{file} is a folder: name the CSV or JSON file in it that lists the images.") from error
    except (ValueError, csv.Error) as error:
        raise InputError(f"{file} is not a table of images ({error}): repair it, or name another one.") from error
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
    """Convert values to text, missing ones to empty text; a row with too many values raises a ValueError."""
    if None in row:
        raise ValueError(f"a row has more values than there are columns: {', '.join(row[None])} is left over")
    return {key: "" if value is None else str(value) for key, value in row.items()}


def samples_of(rows: Iterable[Mapping[str, str]], file: Path, folder: Path) -> list[Sample]:
    """Convert rows of a table, which is named in errors, to samples; paths are relative to a folder.

    A row has a ``path``, and optionally ``label`` (default: good), ``split`` (default: train for good images, test for
    defective ones), ``mask`` and ``defect``. The mask of a good image is ignored.
    """
    samples: dict[Path, Sample] = {}
    for number, row in enumerate(rows, 1):
        try:
            sample = _sample(row, folder)
        except ValueError as error:
            name = f"'{row['path']}'" if row["path"] else f"entry {number}"
            raise InputError(f"In {file}, {name} {error}.") from error
        if sample.path in samples:
            raise InputError(f"{file} names {sample.path} twice: remove one.")
        samples[sample.path] = sample
    return list(samples.values())


def _sample(row: Mapping[str, str], folder: Path) -> Sample:
    """Convert a row to a sample, or raise a ValueError with what is wrong."""
    if not row["path"]:
        raise ValueError("lacks a path: add it")
    path, label = folder / row["path"], _label(row.get("label") or GOOD)
    split = _split(row.get("split") or ("train" if label == NORMAL else "test"))
    if label == NORMAL:
        return Sample(path, split)
    if split in ("train", "calibration"):
        raise ValueError(f"is defective and of split {split}, which must have good images only")
    defect = row.get("defect") or "defective"
    if defect == GOOD:
        raise ValueError("is defective, but its defect is 'good'")
    return Sample(path, split, ANOMALOUS, defect, folder / row["mask"] if row.get("mask") else None)


def _label(text: str) -> int:
    if text.lower() not in LABELS:
        raise ValueError(f"has the label '{text}': use one of {', '.join(LABELS)}")
    return LABELS[text.lower()]


def _split(text: str) -> Split:
    if text not in get_args(Split):
        raise ValueError(f"has the split '{text}': use one of {', '.join(get_args(Split))}")
    return cast("Split", text)
