"""Find image files, and decode them at any format and bit depth. Torch-free, for the runtime as well."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from anomalib_flows.core.errors import InputError

Pixels = npt.NDArray[np.uint8]
"""RGB values from 0 to 255, of shape (h, w, 3)."""

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})
"""Suffixes of image files, in lower case; upper case is accepted as well."""

VIDEO_SUFFIXES = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv"})
"""Usual suffixes of videos, for messages."""

PIXELS = dict.fromkeys("1LIF", "grey") | {"RGB": "colour", "RGBA": "colour with alpha", "P": "palette"}
"""Kind of a pixel, for each of Pillow's modes."""

_DEEP_GREY = ("I", "I;16", "I;16L", "I;16B", "I;16N", "F")  # Pillow's modes of more than 8 bits

WILDCARDS = frozenset("*?[")


def image_files(folder: Path, recursive: bool = False) -> list[Path]:
    """List the images in a folder in natural order, except for hidden files and those in hidden folders.

    A missing folder has no images. Links to folders are followed, unless they lead to a folder that contains the link.
    """
    found: list[Path] = []
    for parent, folders, files in os.walk(folder, followlinks=True):
        visible = [name for name in folders if recursive and not name.startswith(".")]
        folders[:] = [name for name in visible if not leads_back(Path(parent, name))]
        found += (Path(parent, name) for name in files if not name.startswith("."))
    return sorted((file for file in found if file.suffix.lower() in IMAGE_SUFFIXES), key=natural_key)


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


def matches(base: Path, pattern: str) -> list[Path]:
    """List the images that match a pattern, and those in matching folders, without hidden ones."""
    found = [path for path in base.glob(pattern) if not any(p.startswith(".") for p in path.relative_to(base).parts)]
    files = {file for path in found for file in (image_files(path, recursive=True) if path.is_dir() else [path])}
    return sorted((file for file in files if file.suffix.lower() in IMAGE_SUFFIXES), key=natural_key)


def read_pixels(path: Path) -> Pixels:
    """Read an image upright, as 8-bit RGB."""
    return as_pixels(decode(path), path)


def as_pixels(image: Image.Image, name: Path | str = "The image") -> Pixels:
    """Convert an image of any mode to 8-bit RGB; ``name`` stands for it in errors.

    Grey images of more than 8 bits are scaled by their full range, where Pillow would clip them at 255. An alpha
    channel is ignored: filling in a background would add edges that the camera never saw.
    """
    if image.mode in _DEEP_GREY:
        image = Image.fromarray(_eight_bits(image, name))
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA")  # straight to RGB, Pillow warns of some transparent palettes
    return np.array(image.convert("RGB"))


def describe_file(path: Path) -> str:
    """Return the format, kind of pixel and bit depth of an image file, from its header: ``PNG, grey, 8 bits``."""
    with Image.open(path) as image:
        mode = image.mode.partition(";")[0]
        raw = str(image.tile[0].args) if image.tile else ""
        # Pillow reads colours of 16 bits as 8 bits; only the raw mode has the 16.
        bits = 16 if "16" in image.mode + raw else {"1": 1, "I": 32, "F": 32}.get(mode, 8)
        return f"{image.format}, {PIXELS.get(mode, mode)}, {bits} bit{'s' * (bits > 1)}"


def decode(path: Path) -> Image.Image:
    """Decode a file, upright according to its EXIF data; raise an InputError that says what is wrong with it."""
    try:
        with Image.open(path) as image:
            ImageOps.exif_transpose(image, in_place=True)
            return image
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist: check the path.") from error
    except UnidentifiedImageError as error:
        kind = "is not an image that can be read" if path.stat().st_size else "is empty (0 bytes)"
        raise InputError(f"{path} {kind}: replace it.") from error
    except Image.DecompressionBombError as error:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 10**6
        raise InputError(f"{path} has more than {limit} million pixels: cut it into smaller images.") from error
    except PermissionError as error:
        raise InputError(f"{path} cannot be read: change its permissions.") from error
    except Exception as error:  # on damaged files, decoders raise errors of many types
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path} is damaged ({reason}): replace it.") from error


def _eight_bits(image: Image.Image, name: Path | str) -> npt.NDArray[np.uint8]:
    """Scale grey values of more than 8 bits to 0 ... 255, by their type's range and not by the image's own."""
    values = np.asarray(image, dtype=np.float32)
    tags: Any = getattr(image, "tag_v2", {})
    bits = min(16, tags.get(258, (16,))[0])  # BitsPerSample of a TIFF; there are some of 12
    top = 1 if image.mode == "F" else 2**bits - 1
    if not (values.min() >= 0 and values.max() <= top):
        raise InputError(
            f"{name} has values from {values.min():g} to {values.max():g}, not from 0 to {top}: save it "
            "with 8 or 16 bits."
        )
    scaled: npt.NDArray[np.uint8] = np.rint(values * (255 / top)).astype(np.uint8)
    return scaled
