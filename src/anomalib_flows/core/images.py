"""Decode images of any format and bit depth. Torch-free, for the runtime as well."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.parsing import require_regular
from anomalib_flows.core.types import ImageSize

Pixels = npt.NDArray[np.uint8]
"""RGB values from 0 to 255, of shape (h, w, 3)."""

PIXELS = dict.fromkeys("1LIF", "grey") | {"RGB": "colour", "RGBA": "colour with alpha", "P": "palette"}
"""Kind of a pixel, for each of Pillow's modes."""

_DEEP_GREY = ("I", "I;16", "I;16L", "I;16B", "I;16N", "F")  # Pillow's modes of more than 8 bits

MAX_MEGAPIXELS = 80.0
"""Default limit of an image's pixels in millions: predicting one of them takes about 2 GB."""
GB_PER_MEGAPIXEL = 0.025
"""Memory that predicting an image takes, pictures included; measured with 177 million pixels."""
STRIP = 2**22
"""Pixels of an image that are converted at once."""

_PILLOW_LIMIT = Image.MAX_IMAGE_PIXELS or math.inf  # pixels above which Pillow warns
_limit_lock = Lock()


def read_pixels(path: Path, max_megapixels: float = MAX_MEGAPIXELS) -> Pixels:
    """Read an image upright, as 8-bit RGB; one of more pixels than the limit raises an InputError."""
    return as_pixels(decode(path, max_megapixels), path)


def as_pixels(image: Image.Image, name: Path | str = "The image") -> Pixels:
    """Convert an image of any mode to 8-bit RGB; ``name`` stands for it in errors.

    Grey images of more than 8 bits are scaled by their full range, where Pillow would clip them at 255. An alpha
    channel is ignored: filling in a background would add edges that the camera never saw.
    """
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    convert = _eight_bits(image, name) if image.mode in _DEEP_GREY else _colours
    for top, strip in strips(image):
        pixels[top : top + strip.height] = convert(strip)
    return pixels


def strips(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """Yield the upper row of each strip of an image, and the strip: conversions of the whole would take much memory."""
    rows = max(1, STRIP // image.width)
    if rows >= image.height:
        yield 0, image
        return
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(image.height, top + rows)))


def describe_file(path: Path) -> str:
    """Return the format, kind of pixel and bit depth of an image file, from its header: ``PNG, grey, 8 bits``."""
    with opened_image(path) as image:
        mode = image.mode.partition(";")[0]
        raw = str(image.tile[0].args) if image.tile else ""
        # Pillow reads colours of 16 bits as 8 bits; only the raw mode has the 16.
        bits = 16 if "16" in image.mode + raw else {"1": 1, "I": 32, "F": 32}.get(mode, 8)
        return f"{image.format}, {PIXELS.get(mode, mode)}, {bits} bit{'s' * (bits > 1)}"


def stored_size(path: Path) -> ImageSize:
    """Return height and width of an image file, from its header."""
    with opened_image(path) as image:
        return image.height, image.width


@contextmanager
def opened_image(path: Path) -> Iterator[ImageFile.ImageFile]:
    """Open an image file of any size, without decoding it."""
    require_regular(path)
    with path.open("rb") as stream:
        stream.peek()  # a slow disk is waited for here, not while others wait for the limit
        with without_pillow_limit():
            image = Image.open(stream)
        with image:
            yield image


@contextmanager
def without_pillow_limit() -> Iterator[None]:
    """Lift Pillow's limit of pixels, which holds for the whole process, for one thread at a time."""
    with _limit_lock:
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def decode(path: Path, max_megapixels: float = MAX_MEGAPIXELS) -> Image.Image:
    """Decode a file, upright according to its EXIF data; raise an InputError that says what is wrong with it."""
    try:
        with opened_image(path) as image:
            require_pixels(path, (image.height, image.width), max_megapixels)
            # Pillow compares the tiles of a TIFF with its limit as well.
            huge = image.width * image.height > _PILLOW_LIMIT
            with without_pillow_limit() if huge else nullcontext():
                ImageOps.exif_transpose(image, in_place=True)
            return image
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist: check the path.") from error
    except UnidentifiedImageError as error:
        kind = "is not an image that can be read" if path.stat().st_size else "is empty (0 bytes)"
        raise InputError(f"{path} {kind}: replace it.") from error
    except PermissionError as error:
        raise InputError(f"{path} cannot be read: change its permissions.") from error
    except Exception as error:  # on damaged files, decoders raise errors of many types
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path} is damaged ({reason}): replace it.") from error


def require_pixels(path: Path, size: ImageSize, limit: float) -> None:
    """Raise an InputError if an image of a height and width has more pixels than the limit, in millions."""
    megapixels = size[0] * size[1] / 1e6
    if megapixels > limit:
        raise InputError(
            f"{path} has {megapixels:.4g} million pixels, but `max_megapixels` is {limit:g}: raise it if memory "
            f"suffices ({GB_PER_MEGAPIXEL * megapixels:.2g} GB), or cut the image into smaller ones."
        )


def _colours(image: Image.Image) -> Pixels:
    """Convert to RGB without alpha."""
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA")  # straight to RGB, Pillow warns of some transparent palettes
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))  # which would copy it


def _eight_bits(image: Image.Image, name: Path | str) -> Callable[[Image.Image], Pixels]:
    """Return the function that scales grey values of more than 8 bits to 0 ... 255 in each colour.

    The scale is that of the type's range, not of the image's own.
    """
    tags: Any = getattr(image, "tag_v2", {})
    bits = min(16, tags.get(258, (16,))[0])  # BitsPerSample of a TIFF; there are some of 12
    top = 1 if image.mode == "F" else 2**bits - 1
    lowest, highest = extrema(image)
    if not (lowest >= 0 and highest <= top):
        raise InputError(
            f"{name} has values from {lowest:g} to {highest:g}, not from 0 to {top}: save it with 8 or 16 bits."
        )

    def scaled(strip: Image.Image) -> Pixels:
        grey: Pixels = np.rint(np.asarray(strip, np.float32) * (255 / top)).astype(np.uint8)
        return grey[..., None]

    return scaled


def extrema(image: Image.Image) -> tuple[float, float]:
    """Return the lowest and the highest value of a grey image; NaN if it has one."""
    values = (np.asarray(strip, np.float32) for _, strip in strips(image))
    lowest, highest = zip(*((strip.min(), strip.max()) for strip in values), strict=True)
    return float(np.min(lowest)), float(np.max(highest))
