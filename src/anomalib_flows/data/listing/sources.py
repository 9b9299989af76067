"""Find the images of a folder, or of a pattern of paths."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.images import IMAGE_SUFFIXES, image_files, matches, split_pattern


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
