"""Read tables of images: CSV or JSON, with labels, splits, masks and kinds of defect."""

from __future__ import annotations

import csv
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TextIO, cast, get_args

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.finding import LeftOutWarning
from anomalib_flows.core.parsing import parse_json, require_regular
from anomalib_flows.core.types import ANOMALOUS, NORMAL, Sample, Split
from anomalib_flows.data.words import label_of, letters, means_good

Row = Mapping[str, str]

PARTS = ("path", "label", "split", "mask", "defect")
"""Columns of a table of images; all but the first are optional."""
GOOD_ONLY = ("train", "calibration")
"""Splits whose images must be good."""
SEPARATORS = ",;\t"
UTF_16 = (b"\xff\xfe", b"\xfe\xff")
"""Marks at the beginning of a file."""
RECORDED = ("digest",)
"""Columns of a run's splits.csv that need no remark."""
OTHER_NAMES = {
    "path": "file filename filepath image imagefile imagepath images img name paths",
    "label": "anomaly class classes defective good grade isanomaly isdefect isdefective isgood labels ok "
    "quality result state status target verdict y",
    "split": "fold partition phase set splits subset",
    "mask": "groundtruth gt maskpath masks segmentation",
    "defect": "anomalytype defectclass defectkind defects defecttype kind",
}
"""Names that columns have elsewhere, by letters alone."""


def read_table(file: Path, columns: Iterable[str]) -> list[dict[str, str]]:
    """Read the rows of a CSV file with a header, or of a JSON file with a list of objects, as text.

    A file is JSON if its suffix is ``.json``. It must have the given columns; others are read as well. Names of columns
    are in lower case, without spaces around them. Columns are separated by commas, semicolons or tabs, as the header
    has them.
    """
    try:
        require_regular(file)
        with file.open("rb") as raw:
            encoding = "utf-16" if raw.read(2) in UTF_16 else "utf-8-sig"
        with file.open(newline="", encoding=encoding, errors="surrogateescape") as stream:
            rows = _read_json(stream) if file.suffix.lower() == ".json" else _read_csv(stream, columns)
    except FileNotFoundError as error:
        raise InputError(f"{file} does not exist: check the path.") from error
    except IsADirectoryError as error:
        raise InputError(f"{file} is a folder: name the CSV or JSON file in it that lists the images.") from error
    except InputError:
        raise
    except (ValueError, csv.Error) as error:
        raise InputError(f"{file} is not a table of images ({error}): repair it, or name another one.") from error
    for number, row in enumerate(rows, 1):
        if missing := [name for name in columns if name not in row]:
            raise InputError(f"Entry {number} of {file} lacks {', '.join(missing)}: add it.")
    return rows


def _read_csv(stream: TextIO, columns: Iterable[str]) -> list[dict[str, str]]:
    header = stream.readline()
    stream.seek(0)
    reader = csv.DictReader(stream, strict=True, delimiter=max(SEPARATORS, key=header.count))
    reader.fieldnames = names = _column_names(reader.fieldnames or ())
    if missing := [name for name in columns if name not in names]:
        meant = _meant(missing[0], names)
        hint = f"; rename {meant}" if meant else f", it is {header.strip()[:60]!r}"
        raise ValueError(f"its first line does not name the column {missing[0]}{hint}")
    return [_as_text(row) for row in reader]


def _read_json(stream: TextIO) -> list[dict[str, str]]:
    rows = parse_json(stream.read())
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError("it is not a list of objects")
    return [_as_text(dict(zip(_column_names(row), row.values(), strict=True))) for row in rows]


def _column_names(names: Iterable[str]) -> list[str]:
    """Return names of columns in lower case and without spaces; two that are equal then raise a ValueError."""
    tidied = [name.strip().casefold() for name in names]
    if twice := [name for name, count in Counter(tidied).items() if count > 1 and name]:
        raise ValueError(f"it has two columns {twice[0]}")
    return tidied


def _as_text(row: Mapping[Any, Any]) -> dict[str, str]:
    """Convert values to text, missing ones to empty text; a row with too many values raises a ValueError."""
    if None in row:
        raise ValueError(f"a row has more values than there are columns: {', '.join(row[None])} is left over")
    return {key: "" if value is None else str(value) for key, value in row.items()}


def require_known_columns(rows: Sequence[Row], file: Path) -> None:
    """Refuse columns of a table of images that seem to be meant as one that is missing; warn of others not read."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    for part in PARTS:
        if part not in names and (meant := _meant(part, names)):
            raise InputError(f"{file} has a column {meant} but no column {part}: {_renamed(part)}.")
    others = [name for name in names if name and name not in (*PARTS, *RECORDED)]
    if "label" not in names and (meant := next((name for name in others if _has_labels(rows, name)), "")):
        raise InputError(f"{file} has labels in the column {meant} but no column label: {_renamed('label')}.")
    empty = [row["path"] for row in rows if not (row.get("label", "").strip() or row.get("split") in GOOD_ONLY)]
    if empty and len(empty) < len(rows):
        raise InputError(f"{file} has no label for {len(empty)} of {len(rows)} images, such as '{empty[0]}': add it.")
    if others:
        warnings.warn(f"{file}: left out the columns {', '.join(others)}.", LeftOutWarning, stacklevel=3)


def _renamed(part: str) -> str:
    """Return what to do with a column that is meant as ``part``."""
    return f"rename it to {part}{' (0 or good, 1 or bad)' * (part == 'label')}, or remove it"


def _meant(part: str, names: Iterable[str]) -> str:
    """Return the column that seems to be meant as ``part``, or empty text."""
    others = {letters(name): name for name in names if name not in PARTS}
    known = [name for name in OTHER_NAMES[part].split() if name in others] if part in OTHER_NAMES else []
    close = known or get_close_matches(part, others, n=1, cutoff=0.8)
    return others[close[0]] if close else ""


def _has_labels(rows: Iterable[Row], name: str) -> bool:
    """Return whether a column has a word for defective images, or nothing but labels."""
    values = [row.get(name, "").strip() for row in rows]
    words = any(label_of(value) == ANOMALOUS for value in values if not value.isdigit())
    return words or (any(values) and all(label_of(value) is not None for value in values))


def samples_of(rows: Iterable[Row], file: Path, folder: Path) -> list[Sample]:
    """Convert rows of a table, which is named in errors, to samples; paths are relative to a folder.

    A row has a ``path``, and optionally ``label`` (default: good), ``split`` (default: train for good images, test for
    defective ones), ``mask`` and ``defect``. The mask of a good image is not read.

    Raises:
        InputError: If a row cannot be understood: it has an unknown label or split, or a defect or mask without a
            label, or it contradicts itself.
    """
    samples: dict[Path, Sample] = {}
    masks_of_good = 0
    for number, row in enumerate(rows, 1):
        try:
            sample = _sample(row, folder)
        except ValueError as error:
            name = f"'{row['path']}'" if row["path"].strip() else f"entry {number}"
            raise InputError(f"In {file}, {name} {error}.") from error
        if sample.path in samples:
            raise InputError(f"{file} names {sample.path} twice: remove one.")
        samples[sample.path] = sample
        masks_of_good += sample.label == NORMAL and bool(row.get("mask"))
    if masks_of_good:
        warnings.warn(f"{file}: left out masks of good images: {masks_of_good}.", LeftOutWarning, stacklevel=2)
    return list(samples.values())


def _sample(row: Row, folder: Path) -> Sample:
    """Convert a row to a sample, or raise a ValueError with what is wrong."""
    if not row["path"].strip():
        raise ValueError("lacks a path: add it")
    given = {name: row.get(name, "").strip() for name in PARTS[1:]}
    name = row["path"] if (folder / row["path"]).exists() else row["path"].strip()
    path, label = folder / name, _label(given)
    split = _split(given["split"] or ("train" if label == NORMAL else "test"))
    if label == NORMAL and split == "threshold":
        raise ValueError("is good and of split threshold, which must have defective images only")
    if label == NORMAL:
        return Sample(path, split)
    if split in GOOD_ONLY:
        raise ValueError(f"is defective and of split {split}, which must have good images only")
    defect = given["defect"] or "defective"
    if means_good(defect):
        raise ValueError(f"is defective, but its defect is '{defect}'")
    return Sample(path, split, ANOMALOUS, defect, folder / given["mask"] if given["mask"] else None)


def _label(given: Row) -> int:
    """Return the label of a row, or raise a ValueError if it is unknown, or missing where it must be given."""
    if not given["label"]:
        if hint := next((name for name in ("defect", "mask") if given[name]), ""):
            raise ValueError(f"has a {hint} but no label: add a column label with good or bad")
        return NORMAL
    label = label_of(given["label"])
    if label is None:
        raise ValueError(f"has the label '{given['label']}': use good or bad")
    if label == NORMAL and given["defect"] and not means_good(given["defect"]):
        raise ValueError(f"has the label '{given['label']}', but the defect '{given['defect']}': change one of them")
    return label


def _split(text: str) -> Split:
    if text.casefold() not in get_args(Split):
        raise ValueError(f"has the split '{text}': use one of {', '.join(get_args(Split))}")
    return cast("Split", text.casefold())
