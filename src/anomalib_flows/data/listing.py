"""Find the images that folders and patterns name, and the masks of defective images."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.finding import (
    IMAGE_SUFFIXES,
    VIDEO_SUFFIXES,
    describe_left_out,
    find_images,
    image_files,
    matches,
    natural_key,
    split_pattern,
    warn_of_left_out,
)
from anomalib_flows.core.types import GOOD
from anomalib_flows.data.words import means_bad, means_good, means_mask, mentions_bad


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

    Names that end with ``mask_ending`` are masks, not images. Files that are left out are warned of.
    """
    name, base, pattern = f"`{argument}` {given}", *split_pattern(given)
    found = matches(base, pattern) if pattern else find_images(base)
    images = [path for path in found.images if not (mask_ending and path.stem.endswith(mask_ending))]
    if not images:
        fault = "matches no images" if pattern else "has no images" if base.is_dir() else "is not a folder"
        besides = f", only {describe_left_out(found.left_out)}" if found.left_out else ""
        wanted = "a folder or a pattern" if pattern else "a folder"
        if given.suffix.lower() in VIDEO_SUFFIXES and given.is_file():
            fault, wanted = "is a video", "a folder of its frames"
        suffixes = ", ".join(sorted(IMAGE_SUFFIXES))
        raise InputError(f"{name} {fault}{besides}: give {wanted} of images ({suffixes}).")
    warn_of_left_out(name, found)
    return Source(name, base, pattern, images)


def find_photos(argument: str, given: Path, *, good: bool, mask_ending: str | None = None) -> Source:
    """Find photos that are all good, or all defective; names of folders must not say otherwise.

    Raises:
        InputError: If there are no images, or if a folder has the name of the others or of masks.
    """
    source = find_source(argument, given, mask_ending)
    require_photos(source, good=good)
    warn_of_masks(source)
    if good:
        warn_of_names(source)
    return source


def require_photos(source: Source, *, good: bool) -> None:
    """Raise an InputError if the name of a folder says good, defective or mask, and the source is something else."""
    if not source.pattern and (source.base / "train" / GOOD).is_dir():
        raise InputError(
            f"{source.name} is a category in MVTec AD's layout: give `data` mvtec, with {source.base.parent} as root "
            f"and {source.base.name} as category; or its folder train/{GOOD}."
        )
    wanted, other, means_other = ("good", "defective", means_bad) if good else ("defective", "good", means_good)
    for folder in dict.fromkeys(image.parent for image in source.images):
        named = [] if source.pattern else [source.base.name]
        for part in (*named, *folder.relative_to(source.base).parts):
            if means_mask(part):
                raise InputError(f"{source.name} has a folder of masks, {folder}: name folders of photos only.")
            if means_other(part):
                raise InputError(
                    f"{source.name} has a folder of {other} images, {folder}: name folders of {wanted} images only."
                )


def warn_of_names(source: Source) -> None:
    """Warn of good images whose file names say that they are defective."""
    if named := [image for image in source.images if mentions_bad(image.stem)]:
        warnings.warn(
            f"{len(named)} good images of {source.name} have names of defective ones (the first is {named[0]}): move "
            "them if they are.",
            stacklevel=4,
        )


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
