"""Datasets whose folder names give split and kind of defect, as in MVTec AD."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from anomalib_flows.core import registry
from anomalib_flows.core.errors import InputError
from anomalib_flows.core.images import image_files, natural_key
from anomalib_flows.core.types import ANOMALOUS, GOOD, NORMAL, Sample
from anomalib_flows.data.datasets.base import CategoryDataset, folder_name, warn_of_other_counts
from anomalib_flows.data.listing import pair_masks


@dataclass(frozen=True)
class Layout:
    """Names of the folders of a category; the defaults are those of MVTec AD.

    Args:
        good: Folder of normal images, in each folder of a split.
        train: Folder of the training images.
        calibration: Folder of the normal images that the makers hold out; empty if there is none.
        test: Folder of the test images; beside ``good`` it has one folder for each kind of defect.
        masks: Folder of the masks, which mirrors ``test``.
    """

    good: str = GOOD
    train: str = "train"
    calibration: str = ""
    test: str = "test"
    masks: str = "ground_truth"


MVTEC_AD = Layout()


@dataclass(kw_only=True)
class LayoutDataset(CategoryDataset):
    """Read one category of a dataset whose folder names give split and kind of defect."""

    layout: ClassVar[Layout] = MVTEC_AD

    def samples_of(self, category: str) -> list[Sample]:
        """List the images of a category, with their masks as far as available."""
        samples = list_category(find_category(self.root, category, self.layout), self.layout)
        warn_of_other_counts(samples, self.card, folder_name(self.root, category))
        return samples

    def mask_folders(self) -> list[tuple[Path, Path]]:
        """Return the folder of test images with that of masks, of each category."""
        folders = [find_category(self.root, category, self.layout) for category in self.categories.values()]
        return [(folder / self.layout.test, folder / self.layout.masks) for folder in folders]


def list_category(folder: Path, layout: Layout = MVTEC_AD) -> list[Sample]:
    """List the images of one category, sorted by path; without a ``test`` folder all are training images."""
    train = folder / layout.train / layout.good
    if not train.is_dir():
        wanted = f"{layout.train}/{layout.good}"
        raise InputError(f"{folder} has no folder {wanted}: put the good images to train on there.")
    good = image_files(train, recursive=True)
    if not good:
        raise InputError(f"{train} has no images: put the good images to train on there.")
    samples = [Sample(path, "train") for path in good]
    if layout.calibration:
        held_out = image_files(folder / layout.calibration / layout.good, recursive=True)
        samples += [Sample(path, "calibration") for path in held_out]
    return sorted(samples + _test_samples(folder, layout), key=lambda sample: natural_key(sample.path))


def _test_samples(folder: Path, layout: Layout) -> list[Sample]:
    """List the images in the folders of ``test``: one of good images, and one for each kind of defect."""
    test, masks = folder / layout.test, folder / layout.masks
    found = image_files(test, recursive=True)
    tested = [path for path in found if path.parent != test and not path.is_relative_to(masks)]
    kinds = {path: path.relative_to(test).parts[0] for path in tested}
    pairs = pair_masks([path for path in tested if kinds[path] != layout.good], test, masks)
    return [
        Sample(path, "test", NORMAL, GOOD)
        if kinds[path] == layout.good
        else Sample(path, "test", ANOMALOUS, kinds[path], pairs.get(path))
        for path in tested
    ]


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
