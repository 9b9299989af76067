"""Look over a whole dataset before anything is trained on it: what is there, and what is wrong with it."""

from __future__ import annotations

import warnings
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from anomalib_flows.data.base import Dataset
from anomalib_flows.data.checking import Inspected, darkness, inspect, itemise
from anomalib_flows.data.duplicates import duplicates
from anomalib_flows.data.parallel import in_threads
from anomalib_flows.data.reading import MissingMaskWarning, describe_file, image_files, mask_files
from anomalib_flows.types import ANOMALOUS, ImageSize, InputError, Sample


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
    remarks += [*about_masks(sound), *repeated, *links_out_of([one.sample for one in sound], data), darkness(sound)]
    faults = [one.fault for one in found if one.fault] + leaks
    return Inspection(sound, faults, [remark for remark in remarks if remark], kinds_of([s.sample.path for s in sound]))


def kinds_of(paths: list[Path]) -> Counter[str]:
    """Count the files of each format and depth."""
    return Counter(in_threads(describe_file, paths, "listing"))


def about_masks(sound: list[Inspected]) -> list[str]:
    """Say which masks are empty, which are missing, and which have no image."""
    anomalous = [one for one in sound if one.sample.label == ANOMALOUS]
    empty = [one.sample.mask for one in anomalous if one.empty_mask and one.sample.mask]
    bare = [one.sample.path for one in anomalous if one.sample.mask is None]
    lonely = masks_without_image([one.sample for one in sound])
    if bare and len(bare) == len(anomalous):
        return [f"None of {len(bare)} defective images has a mask: they count for image metrics only."]
    titles = {
        "Empty masks of defective images, which count for image metrics only": empty,
        "Defective images without a mask, which count for image metrics only": bare,
        "Masks without an image": lonely,
    }
    return [itemise(title, paths) for title, paths in titles.items() if paths]


def masks_without_image(samples: list[Sample]) -> list[Path]:
    """List the files in folders of masks that are the mask of no image."""
    pairs = [(s.path.parent, s.mask) for s in samples if s.mask and s.mask.parent != s.path.parent]
    used = {file for _, mask in pairs for file in mask_files(mask)}
    folders = {mask.parent for _, mask in pairs}
    for images, masks in {mirror(parent, mask.parent) for parent, mask in pairs}:
        # Of a folder that exists on both sides, another category's images may be the owners.
        folders |= {folder for folder in masks.iterdir() if folder.is_dir() and not (images / folder.name).exists()}
    return sorted({file for folder in folders for file in image_files(folder, recursive=True)} - used)


def mirror(images: Path, masks: Path) -> tuple[Path, Path]:
    """Go up from two folders as long as they have the same name.

    Example:
        >>> [folder.as_posix() for folder in mirror(Path("nut/test/cut"), Path("nut/ground_truth/cut"))]
        ['nut/test', 'nut/ground_truth']
    """
    while images != masks and images.name == masks.name:
        images, masks = images.parent, masks.parent
    return images, masks


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
    """Say which files are links to somewhere outside the dataset's root, so that a copy of it would lack them."""
    if getattr(data, "root", None) is None:
        return []
    root = Path(data.root).resolve()  # type: ignore[attr-defined]
    files = [file for sample in samples for file in (sample.path, sample.mask) if file]
    out = [file for file in files if file.is_symlink() and not file.resolve().is_relative_to(root)]
    return [itemise(f"Links that leave {root}", out)] if out else []
