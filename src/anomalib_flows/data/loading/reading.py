"""Images as tensors, and their masks: found beside them, and read."""

from __future__ import annotations

import operator
import warnings
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.images import decode, image_files, natural, read_pixels
from anomalib_flows.core.types import ImageSize, Sample

if TYPE_CHECKING:
    from torch import Tensor

LOSSY = frozenset({".jpg", ".jpeg", ".webp"})
"""Suffixes of files whose values are not exactly those that were saved."""


class MissingMaskWarning(UserWarning):
    """Defective images have no mask."""


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

    Raises:
        InputError: If the file is missing, damaged, too large or no image.
    """
    return as_tensor(read_pixels(path)).permute(2, 0, 1)


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
    mask = decode(path)
    least = 128 if path.suffix.lower() in LOSSY else 1  # compression blurs the edges of a mask
    bands = np.atleast_3d(np.asarray(mask) >= least)
    if bands.shape[:2] != tuple(shape):
        size, other = (f"{height} x {width}" for height, width in (bands.shape[:2], shape))
        raise InputError(
            f"Mask {path} is {size} pixels high and wide, but {image} {other}: replace the mask by one "
            "of the size of the image."
        )
    marked = bands[..., :-1].any(-1) & bands[..., -1] if mask.mode.endswith("A") else bands.any(-1)
    return as_tensor(np.asarray(marked))


def _united(folder: Path, shape: ImageSize, image: Path | str) -> Tensor:
    """Read all masks in a folder: true where any of them is."""
    files = image_files(folder)
    if not files:
        raise InputError(f"{folder} holds no masks of {image}: put them there or remove the folder.")
    return reduce(operator.or_, [read_mask(file, shape, image) for file in files])


def as_tensor(values: npt.NDArray[np.generic]) -> Tensor:
    """Turn an array into a tensor, without a copy."""
    import torch  # takes seconds, and whoever only lists a dataset's images needs none of it

    return torch.from_numpy(values)
