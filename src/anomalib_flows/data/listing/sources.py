"""What a user names as images: a folder, or a pattern of paths."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.images import IMAGE_SUFFIXES, image_files, matches, split_pattern


@dataclass(frozen=True)
class Source:
    """The images that one value of an option names.

    Args:
        name: The option with its value, as errors call it.
        base: The folder, or the part of the pattern before the first wildcard.
        pattern: The rest of the pattern; empty for a folder.
        images: The images, in natural order.
    """

    name: str
    base: Path
    pattern: str
    images: list[Path]

    def kind(self, image: Path) -> str:
        """Name the kind of defect: the first sub-folder of a folder, or the folder that a pattern's match lies in."""
        parts = image.relative_to(self.base).parts
        return image.parent.name if self.pattern or len(parts) == 1 else parts[0]


def find_images(option: str, given: Path, mask_ending: str | None = None) -> Source:
    """Find the images of a folder and its sub-folders, or of a pattern, which must be some.

    Args:
        option: The option that names them, as it is typed.
        given: Path of the folder, or pattern with ``*``, ``?``, ``[...]`` or ``**``.
        mask_ending: Files whose names end with this are masks, and no images.

    Raises:
        InputError: If there are no images.
    """
    name, base, pattern = f"{option} {given}", *split_pattern(given)
    try:
        found = matches(base, pattern) if pattern else image_files(base, recursive=True)
    except ValueError as error:
        raise InputError(f"{name} is no pattern ({error}): write ** as in photos/**/*.png.") from error
    images = [path for path in found if not (mask_ending and path.stem.endswith(mask_ending))]
    if not images:
        fault = "matches no images" if pattern else "holds no images" if base.is_dir() else "is not a folder"
        wanted = "a folder or a pattern" if pattern else "a folder"
        raise InputError(f"{name} {fault}: give {wanted} of {', '.join(sorted(IMAGE_SUFFIXES))} files.")
    return Source(name, base, pattern, images)


def require_apart(sources: list[Source]) -> None:
    """Refuse sources that share images: one of both would count as good and as defective.

    Raises:
        InputError: If an image belongs to two of them.
    """
    resolve = cache(Path.resolve)
    owners: dict[Path, Source] = {}
    for source in sources:
        for image in source.images:
            other = owners.setdefault(resolve(image.parent) / image.name, source)
            if other is not source:
                raise InputError(f"{image} belongs to {other.name} and to {source.name}: give folders that lie apart.")


def warn_of_masks(source: Source, ending: str = "_mask") -> None:
    """Warn of images that are called like the mask of another one."""
    names = {path.with_suffix("") for path in source.images}
    masks = [
        path
        for path in source.images
        if path.stem.endswith(ending) and path.with_name(path.stem.removesuffix(ending)) in names
    ]
    if masks:
        warnings.warn(
            f"{len(masks)} images of {source.name} are called like masks of others (the first is {masks[0]}): if they "
            f"are, add --data.mask_ending {ending}.",
            stacklevel=3,
        )
