"""Image files: find them, pair them with masks, and read them whatever their format and bit depth."""

from __future__ import annotations

import os
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from anomalib_flows.types import ImageSize, InputError, Sample

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})
"""Suffixes of the files that count as images, in lower case; upper case counts too."""

LOSSY = frozenset({".jpg", ".jpeg", ".webp"})
"""Suffixes of files whose values are not exactly those that were saved."""

PIXELS = {
    "1": "grey",
    "L": "grey",
    "I": "grey",
    "F": "grey",
    "RGB": "colour",
    "RGBA": "colour with alpha",
    "P": "palette",
}
"""What a pixel is, by Pillow's mode."""

_DEEP_GREY = ("I", "I;16", "I;16L", "I;16B", "I;16N", "F")  # Pillow's modes of more than 8 bits


class MissingMaskWarning(UserWarning):
    """Defective images have no mask."""


def image_files(folder: Path, recursive: bool = False) -> list[Path]:
    """List the images in a folder in natural order, leaving out hidden files and hidden folders.

    Links to folders are followed, but not back to a folder that the link lies in.
    """
    found: list[Path] = []
    for parent, folders, files in os.walk(folder, followlinks=True):
        visible = [name for name in folders if recursive and not name.startswith(".")]
        folders[:] = [name for name in visible if not leads_back(Path(parent, name))]
        found += (Path(parent, name) for name in files if not name.startswith("."))
    return sorted((file for file in found if file.suffix.lower() in IMAGE_SUFFIXES), key=natural)


def leads_back(folder: Path) -> bool:
    """Whether a folder is a link to one that it lies in."""
    return folder.is_symlink() and any(folder.samefile(above) for above in folder.absolute().parents)


def natural(path: Path) -> tuple[list[str | int], str]:
    """Sorting key that puts ``2.png`` before ``10.png`` and does not depend on the disk.

    Example:
        >>> sorted([Path("10.png"), Path("2.png")], key=natural)[0].name
        '2.png'
    """
    parts = re.split(r"(\d+)", path.as_posix().lower())
    return [int(part) if part.isdecimal() else part for part in parts], str(path)


def pair_masks(images: list[Path], base: Path, masks: Path, ending: str = "_mask") -> dict[Path, Path]:
    """Find the mask of each image, in a folder that mirrors the folder of the images, or in that very folder.

    The mask of ``base/cut/7.jpg`` is ``masks/cut/7_mask.png`` or ``masks/cut/7.png``, of any image format, or all
    that is in the folder ``masks/cut/7``; beside the images, where names without the ending are photos, it is
    ``7_mask.png`` alone. Images without a mask are left out of the answer, with one warning for all of them.
    """
    known: dict[str, Path] = {}
    for file in sorted(set(image_files(masks, recursive=True)).difference(images), key=natural):
        name = file.relative_to(masks)
        known |= {str(name).lower(): file, str(name.with_suffix("")).lower(): file}
        if not (base / name.parent).is_dir():  # else it mirrors a folder of images
            known[f"{name.parent}/".lower()] = file.parent

    def mask_of(image: Path) -> Path | None:
        name = image.relative_to(base)
        both = [name.with_stem(f"{name.stem}{ending}"), *([name] if masks != base else [])]
        # With its suffix first, since 7.bmp and 7.png may lie side by side.
        tried = [str(n).lower() for mask in both for n in (mask, mask.with_suffix(""))]
        tried.append(f"{name.with_suffix('')}/".lower())
        return next((known[n] for n in tried if n in known), None)

    pairs = {image: mask for image in images if (mask := mask_of(image))}
    if bare := [image for image in images if image not in pairs]:
        warnings.warn(
            f"{len(bare)} of {len(images)} defective images lack a mask in {masks} (the first is {bare[0]}): "
            "they count for image metrics only.",
            MissingMaskWarning,
            stacklevel=2,
        )
    return pairs


def mask_files(mask: Path) -> list[Path]:
    """List the files of a mask, which may be a folder of several."""
    return image_files(mask) if mask.is_dir() else [mask]


def read_sample(sample: Sample) -> tuple[Tensor, Tensor | None]:
    """Read the image of a sample, and its mask if it has one.

    Returns:
        The image of shape (3, h, w) and type uint8, and the boolean mask of shape (h, w).

    Raises:
        InputError: If a file cannot be read, or the mask is not as large as the image.
    """
    image = read_image(sample.path)
    if sample.mask is None:
        return image, None
    return image, read_mask(sample.mask, (image.shape[1], image.shape[2]), sample.path)


def read_image(path: Path) -> Tensor:
    """Read an image upright, as 8-bit RGB of shape (3, h, w).

    Grey images of more than 8 bits are scaled by their full range; Pillow by itself clips them at 255. An
    alpha channel is ignored: filling in a background would add edges that the camera never saw.

    Raises:
        InputError: If the file is missing, damaged, too large or no image.
    """
    image = _load(path)
    if image.mode in _DEEP_GREY:
        image = Image.fromarray(_eight_bits(image, path))
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA")  # straight to RGB, Pillow warns of some transparent palettes
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)


def describe_file(path: Path) -> str:
    """Say which format an image file has, what a pixel is and how many bits a value has; read its header only.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "1.png"
        >>> Image.new("L", (4, 4)).save(file)
        >>> describe_file(file)
        'PNG, grey, 8 bits'
    """
    with Image.open(path) as image:
        mode = image.mode.partition(";")[0]
        raw = str(image.tile[0].args) if image.tile else ""
        # Pillow reads colours of 16 bits as of 8, and tells of it in the raw mode alone.
        bits = 16 if "16" in image.mode + raw else {"1": 1, "I": 32, "F": 32}.get(mode, 8)
        return f"{image.format}, {PIXELS.get(mode, mode)}, {bits} bit{'s' * (bits > 1)}"


def read_mask(path: Path, shape: ImageSize, image: Path | str = "its image") -> Tensor:
    """Read a mask upright: true where a pixel is neither zero nor fully transparent.

    Args:
        path: The mask, or a folder of masks to unite; in one with a palette, index 0 means no defect.
        shape: Height h and width w of the image.
        image: What the image is called in an error.

    Returns:
        Booleans of shape (h, w).

    Raises:
        InputError: If the file cannot be read, or has another size than the image.
    """
    if path.is_dir():
        return _united(path, shape, image)
    mask = _load(path)
    least = 128 if path.suffix.lower() in LOSSY else 1  # compression blurs the edges of a mask
    bands = np.atleast_3d(np.asarray(mask) >= least)
    if bands.shape[:2] != tuple(shape):
        size, other = (f"{height} x {width}" for height, width in (bands.shape[:2], shape))
        raise InputError(
            f"Mask {path} is {size} pixels high and wide, but {image} {other}: replace the mask by one "
            "of the size of the image."
        )
    marked = bands[..., :-1].any(-1) & bands[..., -1] if mask.mode.endswith("A") else bands.any(-1)
    return torch.from_numpy(marked)


def _united(folder: Path, shape: ImageSize, image: Path | str) -> Tensor:
    """Read all masks in a folder: true where any of them is."""
    files = image_files(folder)
    if not files:
        raise InputError(f"{folder} holds no masks of {image}: put them there or remove the folder.")
    return torch.stack([read_mask(file, shape, image) for file in files]).any(0)


def _load(path: Path) -> Image.Image:
    """Decode a file, turned upright as its EXIF data say, or say in one sentence why that fails."""
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
        raise InputError(f"{path} may not be read: give yourself the permission.") from error
    except Exception as error:  # on damaged files, decoders raise errors of many types
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path} is damaged ({reason}): replace it.") from error


def _eight_bits(image: Image.Image, path: Path) -> npt.NDArray[np.uint8]:
    """Scale grey values of more than 8 bits to 0 ... 255, never by what the single image happens to hold."""
    values = np.asarray(image, dtype=np.float32)
    tags: Any = getattr(image, "tag_v2", {})
    bits = min(16, tags.get(258, (16,))[0])  # BitsPerSample of a TIFF; there are some of 12
    top = 1 if image.mode == "F" else 2**bits - 1
    if not (values.min() >= 0 and values.max() <= top):
        raise InputError(
            f"{path} has values from {values.min():g} to {values.max():g}, not from 0 to {top}: save it "
            "with 8 or 16 bits."
        )
    scaled: npt.NDArray[np.uint8] = np.rint(values * (255 / top)).astype(np.uint8)
    return scaled
