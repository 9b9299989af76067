"""Datasets whose folder names give split and kind of defect, as in MVTec AD."""

from __future__ import annotations

import warnings
from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from anomalib_flows.core import registry
from anomalib_flows.core.errors import InputError
from anomalib_flows.core.finding import (
    LeftOutWarning,
    find_images,
    image_files,
    kind_of_folder,
    list_images,
    natural_key,
    warn_of_left_out,
)
from anomalib_flows.core.types import ANOMALOUS, GOOD, NORMAL, Sample
from anomalib_flows.data.datasets.base import CategoryDataset, folder_name, warn_of_other_counts
from anomalib_flows.data.listing import pair_masks
from anomalib_flows.data.words import means_good, means_mask


@dataclass(frozen=True)
class Layout:
    """Names of the folders of a category; the defaults are those of MVTec AD.

    Args:
        good: Folder of normal images, in each folder of a split.
        train: Folder of the training images.
        calibration: Folder of the normal images that the makers hold out; empty if there is none.
        test: Folder of the test images; beside ``good`` it has one folder for each kind of defect.
        masks: Folder of the masks, which mirrors ``test``.
        unlabelled: Folders of images without published labels, which are not read.
    """

    good: str = GOOD
    train: str = "train"
    calibration: str = ""
    test: str = "test"
    masks: str = "ground_truth"
    unlabelled: tuple[str, ...] = ()

    @property
    def folders(self) -> set[str]:
        """Names of all folders of a category."""
        return {self.train, self.calibration, self.test, self.masks, *self.unlabelled}


MVTEC_AD = Layout()


@dataclass(kw_only=True)
class LayoutDataset(CategoryDataset):
    """Read one category of a dataset whose folder names give split and kind of defect."""

    layout: ClassVar[Layout] = MVTEC_AD

    def listed(self) -> list[str]:
        """List the folders that have a training folder."""
        return categories(self.folder, self.layout)

    def samples_of(self, category: str) -> list[Sample]:
        """List the images of a category, with their masks as far as available."""
        samples = list_category(find_category(self.folder, category, self.layout), self.layout)
        warn_of_other_counts(samples, self.card, folder_name(self.folder, category))
        return samples

    def mask_folders(self) -> list[tuple[Path, Path]]:
        """Return the folder of test images with that of masks, of each category."""
        folders = [find_category(self.folder, category, self.layout) for category in self.categories.values()]
        return [(folder / self.layout.test, folder / self.layout.masks) for folder in folders]


def list_category(folder: Path, layout: Layout = MVTEC_AD) -> list[Sample]:
    """List the images of one category, sorted by path; without a ``test`` folder all are training images."""
    train = folder / layout.train / layout.good
    if not train.is_dir():
        wanted = f"{layout.train}/{layout.good}"
        other = next((name for name in inner_folders(train.parent) if means_good(name)), "")
        advice = f"rename {layout.train}/{other}" if other else "put the good images to train on there"
        raise InputError(f"{folder} has no folder {wanted}: {advice}.")
    samples = [Sample(path, "train") for path in list_images(train)]
    if not samples:
        raise InputError(f"{train} has no images: put the good images to train on there.")
    if layout.calibration:
        held_out = list_images(folder / layout.calibration / layout.good)
        samples += [Sample(path, "calibration") for path in held_out]
        warn_of_others(folder / layout.calibration, {layout.good})
    warn_of_others(folder, layout.folders)
    warn_of_others(train.parent, {layout.good})
    return sorted(samples + _test_samples(folder, layout), key=lambda sample: natural_key(sample.path))


def inner_folders(folder: Path) -> list[str]:
    """Return the names of the folders in a folder."""
    return sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def warn_of_others(folder: Path, names: Container[str]) -> None:
    """Warn of images that are directly in a folder, or in folders of it with other names than the given ones."""
    others = [name for name in inner_folders(folder) if name not in names]
    counts = {name: len(image_files(folder / name, recursive=True)) for name in others}
    left_out = [f"{name} ({count} images)" for name, count in counts.items() if count]
    direct = image_files(folder)
    if direct:
        left_out.append(f"{len(direct)} images that are in none of its folders, such as {direct[0].name}")
    if left_out:
        warnings.warn(f"{folder}: left out {', '.join(left_out)}.", LeftOutWarning, stacklevel=3)


def _test_samples(folder: Path, layout: Layout) -> list[Sample]:
    """List the images in the folders of ``test``: one of good images, and one for each kind of defect."""
    test, masks = folder / layout.test, folder / layout.masks
    kinds = [kind for kind in inner_folders(test) if test / kind != masks and not kind_of_folder(test / kind)]
    require_kinds(test, kinds, layout.good)
    warn_of_others(test, [*kinds, *masks.parts])
    warn_of_left_out(masks, find_images(masks))
    kind_of = {path: kind for kind in kinds for path in list_images(test / kind)}
    pairs = pair_masks([path for path, kind in kind_of.items() if kind != layout.good], test, masks)
    return [
        Sample(path, "test", NORMAL, GOOD)
        if kind == layout.good
        else Sample(path, "test", ANOMALOUS, kind, pairs.get(path))
        for path, kind in kind_of.items()
    ]


def require_kinds(test: Path, kinds: Sequence[str], good: str) -> None:
    """Raise an InputError for kinds of defect whose names say that the images are good, or that they are masks."""
    for kind in kinds:
        if means_good(kind) and kind != good:
            raise InputError(f"{test / kind} has the name of good images: rename it to {good}, or to a kind of defect.")
        if means_mask(kind):
            raise InputError(f"{test / kind} has the name of masks: move it out of {test}, or rename it.")


def categories(root: Path, layout: Layout = MVTEC_AD) -> list[str]:
    """Return the names of the folders that have a training folder."""
    return sorted(child.parent.name for child in root.glob(f"*/{layout.train}") if child.is_dir())


def find_category(root: Path | str, category: str, layout: Layout = MVTEC_AD) -> Path:
    """Return the folder of a category, or raise an InputError that says why it does not exist."""
    root = Path(root)
    if not (root / category).is_dir():
        raise InputError(_no_category(root, category, layout))
    return root / category


def _no_category(root: Path, category: str, layout: Layout) -> str:
    """Return why there is no such category, and what to do."""
    if not root.is_dir():
        return f"`root` {root} is not a folder: give the folder of the categories."
    if (root / layout.train).is_dir():
        here = root.resolve()
        return f"{root} is itself a category: set `root` {here.parent} and `category` {here.name}."
    known = categories(root, layout)
    if not known:
        inner = f"{layout.train}/{layout.good}"
        return f"`root` {root} has no category: a category is a folder with a folder {inner} in it."
    return f"In `root` {root}: {registry.unknown('category', category, known)}"
