"""Inspect a whole dataset before a training: what it has, and what is wrong with it."""

from __future__ import annotations

import os
import warnings
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from anomalib_flows.core.errors import InputError, SeveralFaultsError
from anomalib_flows.core.files import map_in_threads
from anomalib_flows.core.finding import image_files
from anomalib_flows.core.images import MAX_MEGAPIXELS, describe_file
from anomalib_flows.core.types import ANOMALOUS, ImageSize, Sample
from anomalib_flows.data.checks.checking import inspect_samples
from anomalib_flows.data.checks.facts import Inspected
from anomalib_flows.data.checks.remarks import about_darkness, about_odd_masks, about_pages, itemise
from anomalib_flows.data.datasets.base import Dataset
from anomalib_flows.data.datasets.layout import categories
from anomalib_flows.data.datasets.mvtec import MVTec
from anomalib_flows.data.identity import find_duplicates
from anomalib_flows.data.likeness import near_duplicates
from anomalib_flows.data.listing import MissingMaskWarning, mask_files


class GroupCounts(NamedTuple):
    """Numbers of images and masks of one split and kind of defect."""

    split: str
    label: int
    defect: str
    images: int
    masks: int
    empty_masks: int


@dataclass(frozen=True)
class Inspection:
    """Findings in a dataset.

    Args:
        sound: The images that can be read, with their properties.
        faults: What must be repaired, one sentence each: files that cannot be read, masks of another size than their
            image, and images of two splits with the same content.
        remarks: What should be known, one sentence each.
        kinds: Number of files of each format and depth.
    """

    sound: list[Inspected] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)

    @property
    def sizes(self) -> Counter[ImageSize]:
        """Number of images of each height and width."""
        return Counter(one.size for one in self.sound)

    @property
    def groups(self) -> list[GroupCounts]:
        """Numbers of images and masks of each split and kind of defect, training images first."""
        groups = defaultdict(list)
        for one in self.sound:
            groups[one.sample.split, one.sample.label, one.sample.defect].append(one)
        counts = [
            GroupCounts(*key, len(ones), sum(o.sample.mask is not None for o in ones), sum(o.empty_mask for o in ones))
            for key, ones in groups.items()
        ]
        return sorted(counts, key=lambda group: (group.split != "train", *group))


def mvtec_datasets(folder: Path) -> list[Dataset]:
    """Return the dataset of a category in MVTec AD's layout, or one for each category in a folder of such."""
    folder = Path(os.path.abspath(folder))  # noqa: PTH100 (absolute() would leave the name '..')
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder: check the path.")
    if (folder / "train").is_dir():
        return [MVTec(root=folder.parent, category=folder.name)]
    names = categories(folder)
    if not names:
        raise InputError(
            f"{folder} is not in MVTec AD's layout, with train/good or CATEGORY/train/good in it: name another folder, "
            f"or give the dataset as `data`, such as `data` folder `data.normal` {folder}."
        )
    return [MVTec(root=folder, category=name) for name in names]


def inspect_dataset(dataset: Dataset, max_megapixels: float = MAX_MEGAPIXELS) -> Inspection:
    """Read all images and masks of a dataset, and compare them with each other."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.simplefilter("ignore", MissingMaskWarning)  # the remarks list all such images
        try:
            samples = dataset.samples()
        except SeveralFaultsError as error:
            return Inspection(faults=[str(one) for one in error.errors])
        except InputError as error:
            return Inspection(faults=[str(error)])
    found = inspect_samples(samples, max_megapixels)
    sound = [one for one in found if not one.fault]
    readable = [one.sample for one in sound]
    same = find_duplicates(sample.path for sample in readable)
    repeated, leaks = same_content(readable, same)
    remarks = [str(warning.message) for warning in caught if issubclass(warning.category, UserWarning)]
    remarks += [*about_masks(dataset, found), *about_odd_masks(found), *about_pages(found)]
    remarks += [*repeated, *about_near_duplicates(readable, same), *links_out_of(readable, dataset)]
    if sound and (dark := about_darkness(max(one.brightest for one in sound))):
        remarks.append(dark)
    faults = [one.fault for one in found if one.fault] + leaks
    kinds = Counter(map_in_threads(describe_file, [sample.path for sample in readable], "listing"))
    return Inspection(sound, faults, remarks, kinds)


def about_masks(dataset: Dataset, found: Sequence[Inspected]) -> list[str]:
    """Return remarks on empty masks, missing masks, and masks without an image."""
    anomalous = [one for one in found if one.sample.label == ANOMALOUS and not one.fault]
    empty = [one.sample.mask for one in anomalous if one.empty_mask and one.sample.mask]
    bare = [one.sample.path for one in anomalous if one.sample.mask is None]
    without_image = masks_without_image(dataset, [one.sample for one in found])
    no_masks = bool(bare) and len(bare) == len(anomalous)
    titles = {
        "Empty masks of defective images, which count for image metrics only": empty,
        "Defective images without a mask, which count for image metrics only": [] if no_masks else bare,
        "Masks without an image": without_image,
    }
    remarks = [f"None of {len(bare)} defective images has a mask: they count for image metrics only."] * no_masks
    return remarks + [itemise(title, paths) for title, paths in titles.items() if paths]


def masks_without_image(dataset: Dataset, samples: Sequence[Sample]) -> list[Path]:
    """List the masks that belong to no image; images that the dataset does not use count as well."""
    masked = [(sample.path.parent, sample.mask) for sample in samples if sample.mask]
    folders = dataset.mask_folders() or {(images, mask.parent) for images, mask in masked}
    ending = getattr(dataset, "mask_ending", None) or "_mask"
    found = {file for images, masks in folders if images != masks for file in unowned(images, masks, ending)}
    return sorted(found.difference(*(mask_files(mask) for _, mask in masked)))


def unowned(images: Path, masks: Path, ending: str) -> list[Path]:
    """List the files of a mask folder that have the name of no image in the folder that it mirrors."""
    owners = {file.relative_to(images).with_suffix("") for file in image_files(images, recursive=True)}
    names = {str(owner).lower() for owner in owners}

    def owned(file: Path) -> bool:
        name = file.relative_to(masks).with_suffix("")
        tried = (name, name.with_name(name.name.removesuffix(ending) or name.name), name.parent)
        return any(str(one).lower() in names for one in tried)

    return [file for file in image_files(masks, recursive=True) if not owned(file)]


def same_content(samples: Sequence[Sample], same: Mapping[Path, Path]) -> tuple[list[str], list[str]]:
    """Return remarks on images of the same content within a split, and faults for those in several splits."""
    groups = defaultdict(list)
    for sample in samples:
        if sample.path in same:
            groups[same[sample.path]].append(sample)
    within: list[str] = []
    across: list[str] = []
    for group in groups.values():
        several = len({sample.split for sample in group}) > 1
        names = [f"{sample.path} ({sample.split} {sample.defect})" for sample in group]
        (across if several else within).append(" = ".join(names))
    remarks = [itemise("Images of the same content, within a split", within)] if within else []
    return remarks, [f"{names}: the same content in several splits; keep one." for names in across]


def about_near_duplicates(samples: Sequence[Sample], same: Mapping[Path, Path]) -> list[str]:
    """Return a remark on images that look nearly the same as one of another split, and do not have its content."""
    pairs = [(a, b) for a, b in near_duplicates(samples) if same.get(a.path, a.path) != same.get(b.path, b.path)]
    names = [f"{a.path} ({a.split}) ~ {b.path} ({b.split})" for a, b in pairs]
    title = "Images that look nearly the same as one of another split, such as frames of one video"
    return [itemise(title, names)] if names else []


def links_out_of(samples: Sequence[Sample], dataset: Dataset) -> list[str]:
    """Return a remark on files that links, of files or folders, include from outside the root: a copy lacks them."""
    if getattr(dataset, "root", None) is None:
        return []
    root = Path(dataset.root).absolute()  # type: ignore[attr-defined]
    files = [file.absolute() for sample in samples for file in (sample.path, sample.mask) if file]
    real = root.resolve()
    out = [file for file in files if file.is_relative_to(root) and not file.resolve().is_relative_to(real)]
    return [itemise(f"Links that leave {real}", out)] if out else []
