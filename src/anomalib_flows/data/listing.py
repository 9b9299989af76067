"""Find the images that folders, patterns and tables name, and the masks of defective images."""

from __future__ import annotations

import csv
import json
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TextIO, cast, get_args

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.images import IMAGE_SUFFIXES, image_files, matches, natural_key, split_pattern
from anomalib_flows.core.types import ANOMALOUS, GOOD, NORMAL, Sample, Split

LABELS = dict.fromkeys(("0", "good", "normal", "ok"), NORMAL) | dict.fromkeys(
    ("1", "bad", "anomaly", "abnormal", "anomalous", "defective", "ko", "ng"), ANOMALOUS
)
"""Words for good and defective images in tables, in lower case."""


@dataclass(frozen=True)
class Source:
    """Images, in natural order, that one value of an argument names.

    ``name`` is the argument with its value, for errors. A pattern is split into ``base``, which ends before the first
    wildcard, and ``pattern``, which is empty for a folder.
    """

    name: str
    base: Path
    pattern: str
    images: list[Path]

    def kind(self, image: Path) -> str:
        """Return the kind of defect: the first sub-folder of a folder, or the folder of a pattern's match."""
        parts = image.relative_to(self.base).parts
        return image.parent.name if self.pattern or len(parts) == 1 else parts[0]


def find_source(argument: str, given: Path, mask_ending: str | None = None) -> Source:
    """Find the images of a folder and its sub-folders, or of a pattern with ``*``, ``?``, ``[...]`` or ``**``.

    Names that end with ``mask_ending`` are masks, not images.
    """
    name, base, pattern = f"`{argument}` {given}", *split_pattern(given)
    try:
        found = matches(base, pattern) if pattern else image_files(base, recursive=True)
    except ValueError as error:
        raise InputError(f"{name} is not a pattern ({error}): write ** as in photos/**/*.png.") from error
    images = [path for path in found if not (mask_ending and path.stem.endswith(mask_ending))]
    if not images:
        fault = "matches no images" if pattern else "has no images" if base.is_dir() else "is not a folder"
        wanted = "a folder or a pattern" if pattern else "a folder"
        raise InputError(f"{name} {fault}: give {wanted} of {', '.join(sorted(IMAGE_SUFFIXES))} files.")
    return Source(name, base, pattern, images)


def require_disjoint(sources: list[Source]) -> None:
    """Raise an InputError if sources share images, which would count as good and as defective."""
    resolve = cache(Path.resolve)
    owners: dict[Path, Source] = {}
    for source in sources:
        for image in source.images:
            other = owners.setdefault(resolve(image.parent) / image.name, source)
            if other is not source:
                raise InputError(f"{image} belongs to {other.name} and to {source.name}: give separate folders.")


def warn_of_masks(source: Source, ending: str = "_mask") -> None:
    """Warn of images whose name is that of another image's mask."""
    names = {path.with_suffix("") for path in source.images}
    masks = [
        path
        for path in source.images
        if path.stem.endswith(ending) and path.with_name(path.stem.removesuffix(ending)) in names
    ]
    if masks:
        warnings.warn(
            f"{len(masks)} images of {source.name} have the name of a mask of another one (the first is {masks[0]}): "
            f"if they are masks, set `mask_ending` {ending}.",
            stacklevel=3,
        )


class MissingMaskWarning(UserWarning):
    """Defective images have no mask."""


def pair_masks(images: list[Path], base: Path, masks: Path, ending: str = "_mask") -> dict[Path, Path]:
    """Find the mask of each image below ``base``, in a folder that mirrors ``base``, or in ``base`` itself.

    The mask of ``base/cut/7.jpg`` is ``masks/cut/7_mask.png`` or ``masks/cut/7.png``, of any image format, or all
    files of the folder ``masks/cut/7``. Beside the images, names without the ending are photos, and the mask is
    ``7_mask.png`` alone. One warning counts the images without a mask.
    """
    known = _known_masks(images, base, masks)
    endings = (ending,) if masks == base else (ending, "")
    pairs = {image: mask for image in images if (mask := _find_mask(image.relative_to(base), endings, known))}
    if bare := [image for image in images if image not in pairs]:
        warnings.warn(
            f"{len(bare)} of {len(images)} defective images lack a mask in {masks} (the first is {bare[0]}): "
            "they count for image metrics only.",
            MissingMaskWarning,
            stacklevel=2,
        )
    return pairs


def _known_masks(images: list[Path], base: Path, masks: Path) -> dict[str, Path]:
    """Index the files of a mask folder by relative path, with and without suffix; folders of masks end with "/"."""
    known: dict[str, Path] = {}
    for file in sorted(set(image_files(masks, recursive=True)).difference(images), key=natural_key):
        name = file.relative_to(masks)
        known |= {str(name).lower(): file, str(name.with_suffix("")).lower(): file}
        if not (base / name.parent).is_dir():  # else it mirrors a folder of images
            known[f"{name.parent}/".lower()] = file.parent
    return known


def _find_mask(image: Path, endings: tuple[str, ...], known: dict[str, Path]) -> Path | None:
    """Return the mask of an image, whose path is relative, among the known ones."""
    names = [image.with_stem(image.stem + ending) for ending in endings]
    # With its suffix first, since 7.bmp and 7.png may lie side by side.
    keys = [str(key).lower() for name in names for key in (name, name.with_suffix(""))]
    keys.append(f"{image.with_suffix('')}/".lower())
    return next((known[key] for key in keys if key in known), None)


def mask_files(mask: Path) -> list[Path]:
    """List the files of a mask, which may be a folder of several."""
    return image_files(mask) if mask.is_dir() else [mask]


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
    if label == NORMAL and split == "threshold":
        raise ValueError("is good and of split threshold, which must have defective images only")
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
