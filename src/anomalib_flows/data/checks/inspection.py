"""Look over a whole dataset before anything is trained on it: what is there, and what is wrong with it."""

from __future__ import annotations

import warnings
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.images import describe_file, image_files
from anomalib_flows.core.parallel import in_threads
from anomalib_flows.core.types import ANOMALOUS, ImageSize, Sample
from anomalib_flows.data.checks.checking import Inspected, darkness, inspect, itemise
from anomalib_flows.data.datasets.base import Dataset
from anomalib_flows.data.listing.masks import MissingMaskWarning, mask_files
from anomalib_flows.data.splits.duplicates import duplicates


@dataclass(frozen=True)
class Inspection:
    """What was found in a dataset.

    Args:
        sound: The images that can be read, with what was found in them.
        faults: What must be mended, a sentence each: files that cannot be read, masks of another size than their
            image, and images of two splits with the same content.
        remarks: What should be known, a sentence each.
        kinds: How many files there are of each format and depth.
    """

    sound: list[Inspected] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)

    @property
    def sizes(self) -> Counter[ImageSize]:
        """How many images there are of each height and width."""
        return Counter(one.size for one in self.sound)


def inspect_dataset(data: Dataset) -> Inspection:
    """Read all images and masks of a dataset, and compare them with each other."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        warnings.simplefilter("ignore", MissingMaskWarning)  # it names the first only, and we all
        try:
            samples = data.samples()
        except InputError as error:
            return Inspection(faults=[str(error)])
    found = inspect(samples)
    sound = [one for one in found if not one.fault]
    repeated, leaks = same_content([one.sample for one in sound])
    remarks = [str(warning.message) for warning in said if issubclass(warning.category, UserWarning)]
    remarks += [
        *about_masks(data, found),
        *repeated,
        *links_out_of([one.sample for one in sound], data),
        darkness(sound),
    ]
    faults = [one.fault for one in found if one.fault] + leaks
    return Inspection(sound, faults, [remark for remark in remarks if remark], kinds_of([s.sample.path for s in sound]))


def kinds_of(paths: list[Path]) -> Counter[str]:
    """Count the files of each format and depth."""
    return Counter(in_threads(describe_file, paths, "listing"))


def about_masks(data: Dataset, found: list[Inspected]) -> list[str]:
    """Say which masks are empty, which are missing, and which have no image."""
    anomalous = [one for one in found if one.sample.label == ANOMALOUS and not one.fault]
    empty = [one.sample.mask for one in anomalous if one.empty_mask and one.sample.mask]
    bare = [one.sample.path for one in anomalous if one.sample.mask is None]
    lonely = masks_without_image(data, [one.sample for one in found])
    none = bool(bare) and len(bare) == len(anomalous)
    titles = {
        "Empty masks of defective images, which count for image metrics only": empty,
        "Defective images without a mask, which count for image metrics only": [] if none else bare,
        "Masks without an image": lonely,
    }
    said = [f"None of {len(bare)} defective images has a mask: they count for image metrics only."] * none
    return said + [itemise(title, paths) for title, paths in titles.items() if paths]


def masks_without_image(data: Dataset, samples: list[Sample]) -> list[Path]:
    """List the masks of no image, whether or not the dataset uses the images that are there."""
    masked = [(sample.path.parent, sample.mask) for sample in samples if sample.mask]
    folders = data.mask_folders() or {(images, mask.parent) for images, mask in masked}
    ending = getattr(data, "mask_ending", None) or "_mask"
    lonely = {file for images, masks in folders if images != masks for file in unowned(images, masks, ending)}
    return sorted(lonely.difference(*(mask_files(mask) for _, mask in masked)))


def unowned(images: Path, masks: Path, ending: str) -> list[Path]:
    """List the files in a folder of masks that are called like no image of the folder that it mirrors."""
    owners = {file.relative_to(images).with_suffix("") for file in image_files(images, recursive=True)}
    names = {str(owner).lower() for owner in owners}

    def owned(file: Path) -> bool:
        name = file.relative_to(masks).with_suffix("")
        tried = (name, name.with_name(name.name.removesuffix(ending) or name.name), name.parent)
        return any(str(one).lower() in names for one in tried)

    return [file for file in image_files(masks, recursive=True) if not owned(file)]


def same_content(samples: list[Sample]) -> tuple[list[str], list[str]]:
    """Say which images have the same content: within a split as one remark, in several as a fault each."""
    same = duplicates(sample.path for sample in samples)
    groups = defaultdict(list)
    for sample in samples:
        if sample.path in same:
            groups[same[sample.path]].append(sample)
    within: list[str] = []
    apart: list[str] = []
    for group in groups.values():
        across = len({sample.split for sample in group}) > 1
        (apart if across else within).append(" = ".join(map(named, group)))
    remarks = [itemise("Images of the same content, within a split", within)] if within else []
    return remarks, [f"{paths}: the same content in several splits; keep one." for paths in apart]


def named(sample: Sample) -> str:
    """Name an image with its split and kind."""
    return f"{sample.path} ({sample.split} {sample.defect})"


def links_out_of(samples: list[Sample], data: Dataset) -> list[str]:
    """Say which files a link, their own or of a folder, brings in from outside: a copy of the root would lack them."""
    if getattr(data, "root", None) is None:
        return []
    root = Path(data.root).absolute()  # type: ignore[attr-defined]
    files = [file.absolute() for sample in samples for file in (sample.path, sample.mask) if file]
    real = root.resolve()
    out = [file for file in files if file.is_relative_to(root) and not file.resolve().is_relative_to(real)]
    return [itemise(f"Links that leave {real}", out)] if out else []
