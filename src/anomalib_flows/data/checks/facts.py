"""What is known of image and mask files once they were decoded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.finding import LOSSY
from anomalib_flows.core.images import as_pixels, decode, opened_image
from anomalib_flows.core.remember import remembered
from anomalib_flows.core.types import ImageSize, Sample
from anomalib_flows.data.listing import mask_files
from anomalib_flows.data.loading.reading import marked_pixels

F = TypeVar("F")

PAGED = frozenset({".png", ".tif", ".tiff", ".webp"})
"""Suffixes of files that may have several pages, of which the first is read."""


class ImageFacts(NamedTuple):
    """Height, width, largest value from 0 to 255, and number of pages."""

    height: int
    width: int
    brightest: int
    pages: int


class MaskFacts(NamedTuple):
    """Height, width, number of marked pixels, and number of different values other than 0."""

    height: int
    width: int
    marked: int
    levels: int


class Inspected(NamedTuple):
    """Properties of an image and its mask, or else why a file cannot be read.

    ``size`` is height and width, ``brightest`` the largest value, from 0 to 255, and ``marked`` the share of the pixels
    that the mask marks; an empty mask marks none. ``levels`` is the number of different values of the mask, without 0.
    """

    sample: Sample
    fault: str = ""
    size: ImageSize = (0, 0)
    brightest: int = 0
    pages: int = 1
    marked: float | None = None
    levels: int = 0

    @property
    def empty_mask(self) -> bool:
        """Whether there is a mask that marks nothing."""
        return self.marked == 0


class Facts(NamedTuple):
    """What is known of the files of a sample; an InputError stands for a file that cannot be read."""

    image: ImageFacts | InputError
    masks: list[tuple[Path, MaskFacts | InputError]]


def find_facts(samples: Sequence[Sample], max_megapixels: float) -> list[Facts]:
    """Decode the images and masks of samples, in threads; what is known from earlier calls is not decoded again."""
    masks = {sample.mask: mask_files(sample.mask) if sample.mask else [] for sample in samples}
    files = list(dict.fromkeys(file for found in masks.values() for file in found))
    paths = [sample.path for sample in samples]
    images = remembered("image 1", partial(image_facts, limit=max_megapixels), paths, "reading", are_facts)
    found = remembered("mask 2", partial(mask_facts, limit=max_megapixels), files, "reading masks", are_facts)
    of_mask = dict(zip(files, found, strict=True))
    return [
        Facts(as_facts(ImageFacts, image), [(file, as_facts(MaskFacts, of_mask[file])) for file in masks[sample.mask]])
        for sample, image in zip(samples, images, strict=True)
    ]


def are_facts(found: object) -> bool:
    """Return whether a list that JSON kept has the numbers of an image or a mask."""
    numbers = found if isinstance(found, list) else []
    return len(numbers) == 4 and all(type(number) is int and number >= 0 for number in numbers) and min(numbers[:2]) > 0


def as_facts(cls: Callable[..., F], found: Sequence[int] | InputError) -> F | InputError:
    """Return facts from a list that JSON kept."""
    return found if isinstance(found, InputError) else cls(*found)


def image_facts(path: Path, limit: float) -> ImageFacts:
    """Decode an image of at most ``limit`` million pixels."""
    pixels = as_pixels(decode(path, limit), path)
    return ImageFacts(pixels.shape[0], pixels.shape[1], int(pixels.max()), page_count(path))


def page_count(path: Path) -> int:
    """Return the number of pages of a file that can be read."""
    if path.suffix.lower() not in PAGED:
        return 1
    try:
        with opened_image(path) as image:
            return getattr(image, "n_frames", 1)
    except Exception:  # of many types, at later pages, which nobody reads
        return 1


def mask_facts(path: Path, limit: float) -> MaskFacts:
    """Decode a mask of at most ``limit`` million pixels."""
    mask = decode(path, limit)
    marked = marked_pixels(mask, path)
    # A lossy file has many values, which the threshold of marked_pixels takes care of.
    levels = 1 if path.suffix.lower() in LOSSY else count_levels(np.asarray(mask))
    return MaskFacts(marked.shape[0], marked.shape[1], int(marked.sum()), levels)


def count_levels(values: npt.NDArray[np.generic]) -> int:
    """Count the different values other than 0."""
    if values.dtype == np.uint8:  # many times faster than sorting
        return int(np.count_nonzero(np.bincount(values.ravel())[1:]))
    return int(np.count_nonzero(np.unique(values)))
