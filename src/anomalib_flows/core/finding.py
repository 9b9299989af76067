"""Find image files, and say what is left out. Torch-free, for the runtime as well."""

from __future__ import annotations

import os
import re
import warnings
from collections import Counter
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

from anomalib_flows.core.errors import InputError

LOSSY = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".jp2", ".webp"})
"""Suffixes of image files whose values are not exactly those that were saved."""
IMAGE_SUFFIXES = LOSSY | {".png", ".bmp", ".dib", ".tif", ".tiff", ".pbm", ".pgm", ".pnm", ".ppm"}
"""Suffixes of image files, in lower case; upper case is accepted as well."""
VIDEO_SUFFIXES = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv"})
"""Usual suffixes of videos, for messages."""
PHOTO_SUFFIXES = frozenset({".arw", ".avif", ".cr2", ".dng", ".gif", ".heic", ".heif", ".nef", ".raw"})
"""Suffixes of photos in formats that are not read."""
SYSTEM_FOLDERS = frozenset({"@eadir", "#recycle", "$recycle.bin", "__macosx", "lost+found"})
"""Folders, in lower case, that operating systems and network drives make: thumbnails and deleted files."""
SYSTEM_FILES = re.compile(r"thumbs\.db|desktop\.ini|(readme|licen[cs]e)\b.*", re.IGNORECASE)
OWN = ".anomalib-flows"
"""File that marks a folder of pictures that this package wrote. They are results, never input."""

WILDCARDS = frozenset("*?[")


def mark_results(folder: Path) -> None:
    """Make a folder for pictures that this package writes, and mark it, so that they are never read as photos."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / OWN).touch()


class Found(NamedTuple):
    """Images in natural order, and the number of files and folders of each kind that were left out."""

    images: list[Path]
    left_out: Counter[str]


class LeftOutWarning(UserWarning):
    """Files or folders beside the images are not read."""


def image_files(folder: Path, recursive: bool = False) -> list[Path]:
    """List the images in a folder in natural order; see :func:`find_images`."""
    return find_images(folder, recursive).images


def in_results(folder: Path) -> bool:
    """Return whether a folder, or one that contains it, has pictures that this package wrote."""
    return any(os.path.exists(above / OWN) for above in (folder, *folder.absolute().parents))  # noqa: PTH110


def find_images(folder: Path, recursive: bool = True) -> Found:
    """Find the images in a folder, and count what else is there.

    Left out are files of other formats, hidden files and folders, thumbnails of network drives, and results of this
    package. A missing folder has no images. Links to folders are followed, unless they lead to a folder that contains
    the link.
    """
    if in_results(folder):
        return Found([], Counter([RESULTS]))
    images, left_out = list[Path](), Counter[str]()

    def note(error: OSError) -> None:
        missing = isinstance(error, FileNotFoundError | NotADirectoryError)
        left_out.update([] if missing else [unreadable(error.filename)])

    for parent, folders, files in os.walk(folder, onerror=note, followlinks=True):
        inner = [Path(parent, name) for name in folders] if recursive else []
        kinds = {path.name: kind_of_folder(path) for path in inner if not leads_back(path)}
        folders[:] = [name for name, kind in kinds.items() if not kind]
        left_out.update(filter(None, kinds.values()))
        for name in files:
            kind = kind_of_file(name)
            images += [] if kind else [Path(parent, name)]
            left_out.update([kind] if kind and kind != SYSTEM else [])
    return Found(sorted(images, key=natural_key), left_out)


PLURAL, KINDS = r"\1s", 6
RESULTS = "folder of results of anomalib-flows"
SYSTEM, HIDDEN = "file of the system", "hidden image file"


def unreadable(folder: Path | str) -> str:
    """Return why a folder is left out whose names cannot be read."""
    return f"folder {folder} that cannot be read"


def kind_of_file(name: str) -> str:
    """Return why a file is left out, by its name; empty text for an image."""
    suffix = Path(name).suffix.lower()
    if suffix in IMAGE_SUFFIXES:
        return HIDDEN if name.startswith(".") else ""
    if name.startswith(".") or SYSTEM_FILES.fullmatch(name):
        return SYSTEM
    return f"{suffix} file" if suffix else "file without suffix"


def kind_of_folder(path: Path) -> str:
    """Return why a folder is left out; empty text for one that is read."""
    if os.path.exists(path / OWN):  # noqa: PTH110 (Path.exists raises an error in a folder that cannot be entered)
        return RESULTS
    ignored = path.name.startswith(".") or path.name.lower() in SYSTEM_FOLDERS
    return f"folder {path.name}" if ignored else ""


def describe_left_out(left_out: Counter[str]) -> str:
    """Return counts as text, the most frequent kinds first: ``6 .heic files, 1 folder @eaDir``."""
    shown = left_out.most_common(KINDS)
    texts = [f"{n} {re.sub('(file|folder)', PLURAL, kind, count=1) if n > 1 else kind}" for kind, n in shown]
    rest = left_out.total() - sum(n for _, n in shown)
    advice = " (convert photos to JPEG or PNG)" * any(kind.partition(" ")[0] in PHOTO_SUFFIXES for kind in left_out)
    return ", ".join([*texts, f"{rest} of other kinds"] if rest else texts) + advice


def warn_of_left_out(name: Path | str, found: Found) -> None:
    """Warn of files that are left out; ``name`` stands for the folder."""
    if found.left_out:
        warnings.warn(f"{name}: left out {describe_left_out(found.left_out)}.", LeftOutWarning, stacklevel=3)


def list_images(folder: Path) -> list[Path]:
    """List the images in a folder and its sub-folders in natural order, and warn of what is left out."""
    found = find_images(folder)
    warn_of_left_out(folder, found)
    return found.images


def leads_back(folder: Path) -> bool:
    """Return whether a folder is a link to a folder that contains it."""
    return folder.is_symlink() and any(folder.samefile(above) for above in folder.absolute().parents)


def natural_key(path: Path) -> tuple[list[str | int], str]:
    """Return a sorting key that puts ``2.png`` before ``10.png`` and does not depend on the disk."""
    parts = re.split(r"(\d+)", path.as_posix().lower())
    return [int(part) if part.isdecimal() else part for part in parts], str(path)


def split_pattern(given: Path) -> tuple[Path, str]:
    """Split a path before its first part that has wildcards and does not exist literally."""
    base = Path(given.anchor)
    parts = given.parts[bool(given.anchor) :]
    for number, part in enumerate(parts):
        if WILDCARDS & set(part) and not (base / part).exists():
            return base, "/".join(parts[number:])
        base /= part
    return base, ""


def matches(base: Path, pattern: str) -> Found:
    """Find the images that match a pattern, and those in matching folders; see :func:`find_images`.

    Raises:
        InputError: If it is not a pattern.
    """
    if in_results(base):
        return Found([], Counter([RESULTS]))
    images, left_out, folders = set[Path](), Counter[str](), dict[Path, str]()
    first_left_out = cache(partial(first_left_out_below, base))  # of this call: folders change
    for path in globbed(base, pattern):
        folder = path if path.is_dir() else path.parent
        if skipped := first_left_out(folder):
            folders[skipped] = kind_of_folder(skipped)
        elif path.is_dir():
            found = find_images(path)
            images.update(found.images)
            left_out += found.left_out
        elif not (kind := kind_of_file(path.name)):
            images.add(path)
        elif kind != SYSTEM:
            left_out[kind] += 1
    left_out += Counter([*folders.values(), *map(unreadable, closed_folders(base, pattern))])
    return Found(sorted(images, key=natural_key), left_out)


def closed_folders(base: Path, pattern: str) -> set[Path]:
    """Return the folders on the way of a pattern whose names cannot be read, which ``glob`` passes over in silence."""
    parts = Path(pattern).parts[:-1]
    prefixes = ["/".join(parts[: number + 1]) for number in range(len(parts))]
    way = [base, *(folder for prefix in prefixes for folder in globbed(base, prefix) if folder.is_dir())]
    return {folder for folder in way if folder.is_dir() and not os.access(folder, os.R_OK | os.X_OK)}


def globbed(base: Path, pattern: str) -> list[Path]:
    """Return the files and folders that match a pattern."""
    try:
        return list(base.glob(pattern))
    except ValueError as error:
        raise InputError(f"{base / pattern} is not a pattern ({error}): write ** as in photos/**/*.png.") from error


def first_left_out_below(base: Path, folder: Path) -> Path | None:
    """Return the first folder below ``base``, on the way to a folder, that is left out."""
    way = [folder, *folder.parents][: len(folder.relative_to(base).parts)]
    return next((one for one in reversed(way) if kind_of_folder(one)), None)
