"""Decide which image is used for what: random splits and drawn validation images."""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast, get_args

import numpy as np
from PIL import Image
from tqdm import tqdm

from anomalib_flows.core.errors import FieldError, InputError
from anomalib_flows.core.files import atomic, fresh_folder
from anomalib_flows.core.finding import mark_results
from anomalib_flows.core.types import ANOMALOUS, LABELS, Sample, Split
from anomalib_flows.data.identity import digests, is_digest
from anomalib_flows.data.loading.reading import read_image
from anomalib_flows.data.tables import read_table

if TYPE_CHECKING:
    from anomalib_flows.data.datasets.base import Dataset

COLUMNS = ("split", "label", "defect", "path", "mask")
DIGEST = "digest"
"""Column of the digest of an image's content, by which an image is known wherever it lies."""
LEAST = 2
"""Smallest number of images in a validation set."""


def hold_out(
    samples: list[Sample], fraction: float, seed: int, same: Mapping[Path, Path] | None = None
) -> list[Sample]:
    """Move a random part of the training images, at least one, to the calibration split, unless it has images.

    The seed and the paths determine the part; the order of the samples does not matter. Images of the same content stay
    together: ``same`` is the result of :func:`anomalib_flows.data.identity.find_duplicates`.
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
    """Write the split of each image to a CSV file, with absolute paths and digests of the contents."""
    known = digests(sample.path for sample in samples)
    with (
        atomic(file) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape") as stream,
    ):
        writer = csv.writer(stream)
        writer.writerow((*COLUMNS, DIGEST))
        for s in samples:
            mask, digest = s.mask.absolute() if s.mask else "", known.get(s.path, "")
            writer.writerow((s.split, s.label, s.defect, s.path.absolute(), mask, digest))


def read_splits(file: Path) -> list[Sample]:
    """Read a file of :func:`write_splits`."""
    return [sample for sample, _ in read_record(file)]


def read_record(file: Path) -> list[tuple[Sample, str]]:
    """Read a file of :func:`write_splits`: each image with the digest of its content, if that is known."""
    record = []
    for number, row in enumerate(read_table(file, COLUMNS), 1):
        try:
            record.append((_sample(row), row.get(DIGEST, "")))
        except ValueError as error:
            fault = f"entry {number} {error}"
            raise InputError(f"{file} is not a record of splits ({fault}): name the splits.csv of a run.") from error
    return record


def without(samples: Sequence[Sample], others: Sequence[Sample]) -> list[Sample]:
    """Return the images that are not among the others, by their path or their content."""
    known = digests(sample.path for sample in (*samples, *others))
    paths, contents = {s.path.absolute() for s in others}, {known[s.path] for s in others if s.path in known}
    return [s for s in samples if s.path.absolute() not in paths and known.get(s.path) not in contents]


def known_to(file: Path, samples: Sequence[Sample], which: Callable[[Sample], bool]) -> list[Sample]:
    """Return the images that are among the chosen ones of a record, by their content or their path."""
    record = {sample.path: digest for sample, digest in read_record(file) if which(sample)}
    record |= digests(path for path, digest in record.items() if not digest)  # of a run of an earlier version
    paths, contents = set(record), {digest for digest in record.values() if digest}
    found = digests(sample.path for sample in samples)
    return [s for s in samples if s.path.absolute() in paths or found.get(s.path) in contents]


def found_again(file: Path, dataset: Dataset, *, moved: bool) -> list[Sample]:
    """Read a record; images that are missing, or all if they have moved, are looked up in a dataset by their content.

    Raises:
        InputError: If the dataset lacks the content of an image.
    """
    record = [
        (redrawn(sample, file.parent) if is_drawn(sample) else sample, digest) for sample, digest in read_record(file)
    ]
    own = [(sample, digest) for sample, digest in record if not is_drawn(sample)]
    if not moved and all(sample.path.is_file() for sample, _ in own):
        return [sample for sample, _ in record]
    listed = {sample.path.absolute(): sample for sample in dataset.samples()}
    places = {digest: path for path, digest in digests(listed).items()}
    place = {sample.path: sample.path if sample.path in listed else places.get(digest) for sample, digest in own}
    if lost := [path for path, found in place.items() if found is None]:
        raise InputError(
            f"{len(lost)} of {len(record)} images of {file} are not in the dataset (the first is {lost[0]}): give the "
            "folder where they are now as an option of `data`."
        )

    def moved_to(sample: Sample) -> Sample:
        new = listed[path] if (path := place.get(sample.path)) else sample
        return replace(sample, path=new.path, mask=new.mask if sample.mask else None)

    return [moved_to(sample) for sample, _ in record]


def _sample(row: dict[str, str]) -> Sample:
    """Convert a row of a record, or raise a ValueError with what is wrong."""
    valid = {"split": get_args(Split), "label": tuple(map(str, LABELS))}
    if wrong := [name for name in valid if row[name] not in valid[name]]:
        raise ValueError(f"has the {wrong[0]} {row[wrong[0]]!r}")
    if not row["path"] or "\0" in row["path"] + row["mask"]:
        raise ValueError(f"has the path {row['path']!r}")
    if row.get(DIGEST) and not is_digest(row[DIGEST]):
        raise ValueError(f"has the digest {row[DIGEST]!r}")
    mask = Path(row["mask"]) if row["mask"] else None
    return Sample(Path(row["path"]), cast("Split", row["split"]), int(row["label"]), row["defect"], mask)


def hold_out_validation(
    samples: list[Sample], fraction: float, seed: int, same: Mapping[Path, Path] | None = None
) -> list[Sample]:
    """Move a random part of the training images to the validation split; a fraction of 0 moves none.

    The seed and the paths determine the part. Images of the ``same`` content stay together.
    """
    training = [sample.path for sample in select(samples, "train")]
    if fraction == 0:
        return samples
    held = draw_subset(training, fraction, seed, same)
    if len(held) < LEAST or len(training) <= LEAST:
        raise InputError(
            f"`split.validation_fraction` {fraction} of {len(training)} training images is too few for validation: "
            f"choose a share that gives at least {LEAST}, add images, or set it to 0."
        )
    return moved(samples, held, "validation")


def draw_defects(samples: list[Sample], folder: Path, seed: int) -> list[Sample]:
    """Write a copy of each normal validation image with a synthetic defect, and list the copies with their masks.

    The copies have the size of the image. They are in ``FOLDER/defects/KIND``, and their masks in
    ``FOLDER/masks/KIND``. Nothing is written if the dataset has defective validation images itself.
    """
    normal = select(samples, "validation")
    if not normal or any(sample.label == ANOMALOUS for sample in normal):
        return []
    with fresh_folder(folder) as temporary:
        mark_results(temporary)
        images = enumerate(tqdm(normal, desc="drawing defects", unit="image", delay=1, leave=False))
        names = [_write(sample, number, temporary, seed) for number, sample in images]
    return [
        Sample(folder / "defects" / name, "validation", ANOMALOUS, name.parent.name, folder / "masks" / name)
        for name in names
    ]


def redrawn(sample: Sample, run: Path) -> Sample:
    """Return a drawn image where it is now, if its run has moved."""
    if not is_drawn(sample) or sample.path.is_file() or sample.mask is None:
        return sample
    path, mask = (run.absolute().joinpath(*file.parts[-5:]) for file in (sample.path, sample.mask))
    return replace(sample, path=path, mask=mask)


def is_drawn(sample: Sample) -> bool:
    """Return whether an image is a copy of :func:`draw_defects`, of this run or of another one."""
    return sample.label == ANOMALOUS and sample.path.parts[-5:-2] == ("validation", "drawn", "defects")


def _write(sample: Sample, number: int, folder: Path, seed: int) -> Path:
    """Write one image with a defect, and its mask; return their path within both folders."""
    from anomalib_flows.data.drawing.photos import add_synthetic_defect  # imports SciPy

    image, mask, kind = add_synthetic_defect(read_image(sample.path, math.inf), seed, number)  # its size was checked
    name = Path(kind, f"{number:04d}.png")
    for part, values in (("defects", image.round().byte().permute(1, 2, 0)), ("masks", mask)):
        file = folder / part / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(values.numpy()).save(file, compress_level=1)
    return name
