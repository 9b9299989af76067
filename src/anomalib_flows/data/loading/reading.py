"""Read images and masks as tensors."""

from __future__ import annotations

import operator
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.finding import LOSSY, image_files
from anomalib_flows.core.images import MAX_MEGAPIXELS, decode, read_pixels
from anomalib_flows.core.types import ImageSize, Sample

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor


def read_sample(sample: Sample, max_megapixels: float = MAX_MEGAPIXELS) -> tuple[Tensor, Tensor | None]:
    """Read an image, uint8 of shape (3, h, w), and its mask, boolean of shape (h, w), if it has one."""
    image = read_image(sample.path, max_megapixels)
    if sample.mask is None:
        return image, None
    return image, read_mask(sample.mask, (image.shape[1], image.shape[2]), sample.path, max_megapixels)


def read_image(path: Path, max_megapixels: float = MAX_MEGAPIXELS) -> Tensor:
    """Read an image upright, as 8-bit RGB of shape (3, h, w).

    Args:
        path: Image file.
        max_megapixels: Limit of its pixels, in millions.

    Raises:
        InputError: If the file is missing, damaged, too large or no image.
    """
    return as_tensor(read_pixels(path, max_megapixels)).permute(2, 0, 1)


def read_mask(
    path: Path, shape: ImageSize, image: Path | str = "its image", max_megapixels: float = MAX_MEGAPIXELS
) -> Tensor:
    """Read a mask upright, as booleans of shape (h, w): true where a pixel is neither zero nor fully transparent.

    A folder of masks is united. In a mask with a palette, index 0 means no defect. The mask must have the shape of
    ``image``, which stands for the image in errors.
    """
    if path.is_dir():
        files = image_files(path)
        if not files:
            raise no_masks(path, image)
        return reduce(operator.or_, [read_mask(file, shape, image, max_megapixels) for file in files])
    marked = marked_pixels(decode(path, max_megapixels), path)
    require_shape(path, (marked.shape[0], marked.shape[1]), shape, image)
    return as_tensor(marked)


def require_shape(mask: Path, found: ImageSize, shape: ImageSize, image: Path | str) -> None:
    """Raise an InputError unless a mask has the height and width of its image."""
    if found != tuple(shape):
        size, other = (f"{height} x {width}" for height, width in (found, shape))
        raise InputError(
            f"Mask {mask} is {size} pixels high and wide, but {image} {other}: replace the mask by one "
            "of the size of the image."
        )


def no_masks(folder: Path, image: Path | str) -> InputError:
    """Return the error of a folder without masks."""
    return InputError(f"{folder} holds no masks of {image}: put them there or remove the folder.")


def marked_pixels(mask: Image.Image, path: Path) -> npt.NDArray[np.bool_]:
    """Return where a decoded mask marks a defect, of shape (h, w); see :func:`read_mask`."""
    least = 128 if path.suffix.lower() in LOSSY else 1  # compression blurs the edges of a mask
    bands = np.atleast_3d(np.asarray(mask) >= least)
    marked = bands[..., :-1].any(-1) & bands[..., -1] if mask.mode.endswith("A") else bands.any(-1)
    return np.asarray(marked)


def as_tensor(values: npt.NDArray[np.generic]) -> Tensor:
    """Turn an array into a tensor, without a copy."""
    import torch  # takes seconds, and whoever only lists a dataset's images needs none of it

    return torch.from_numpy(values)
