"""Images to predict: each file is decoded once, for the network and for the pictures, and checked on the way."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor
from tqdm import tqdm

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.images import MAX_MEGAPIXELS, Pixels, stored_size
from anomalib_flows.core.types import Batch, Sample
from anomalib_flows.data.checks.checking import Checker
from anomalib_flows.data.loading.cache import Item
from anomalib_flows.data.loading.loader import Loader, collate, resized
from anomalib_flows.data.loading.reading import read_sample
from anomalib_flows.run.options import ImageOptions, LoaderOptions

BATCH_PIXELS = 2**25
"""Limit of the pixels of the photos in a batch."""


@dataclass(frozen=True, eq=False)
class Photo:
    """Pixels of an image file, of shape (3, h, w) and type uint8, and its mask of shape (h, w), if it has one."""

    sample: Sample
    pixels: Tensor
    mask: Tensor | None

    @property
    def picture(self) -> Pixels:
        """The image, of shape (h, w, 3)."""
        return np.asarray(self.pixels.permute(1, 2, 0))


def read_photo(sample: Sample, max_megapixels: float = MAX_MEGAPIXELS) -> Photo | InputError:
    """Decode a file and its mask; return the error if that fails, to be reported in its turn."""
    try:
        return Photo(sample, *read_sample(sample, max_megapixels))
    except InputError as fault:
        return fault


def read_batches(
    samples: Sequence[Sample], image: ImageOptions, options: LoaderOptions, title: str, done: int = 0
) -> Iterator[Batch]:
    """Read images in batches with pictures and show a progress bar.

    Batches whose samples are all among the first ``done`` ones are left out. An empty mask of a defective image counts
    as no mask. A file that cannot be read raises an InputError, or is skipped as ``options.on_error`` says. It is an
    error as well if no file can be read.
    """
    options = replace(options, batch_size=fitting_batch_size(samples, options.images_per_batch), cache="none")
    first = done - done % options.images_per_batch
    checker = Checker(options.on_error, first)

    def read(sample: Sample) -> tuple[Photo, Item] | InputError:
        photo = read_photo(sample, options.max_megapixels)
        return photo if isinstance(photo, InputError) else (photo, resized(photo.pixels, photo.mask, image))

    with tqdm(total=len(samples), initial=first, desc=title, unit="image", delay=1, leave=False) as bar:
        for batch, found in Loader(samples[first:], image, options).ahead(read):
            readable = as_batch(found, checker)
            found.clear()  # the batch has copies of the images
            if readable:
                yield readable
            del readable  # not kept while the next batch is computed
            bar.update(len(batch))
    checker.finish()


def as_batch(found: Sequence[tuple[Photo, Item] | InputError], checker: Checker) -> Batch | None:
    """Combine photos to a batch with pictures, if there are any; report those that could not be read."""
    samples: list[Sample] = []
    items: list[Item] = []
    pictures: list[Pixels] = []
    for one in found:
        if isinstance(one, InputError):
            checker.fault(one)
            continue
        photo, item = one
        samples.append(checker.image(photo.sample, photo.pixels, photo.mask))
        items.append(item if samples[-1].mask else item._replace(mask=None))
        pictures.append(photo.picture)
    return replace(collate(samples, items), pictures=pictures) if samples else None


def fitting_batch_size(samples: Sequence[Sample], batch_size: int) -> int:
    """Return the batch size, or a smaller one that bounds the memory of large photos.

    Several batches of decoded photos are in memory at the same time.
    """
    with suppress(OSError, IndexError):
        return max(1, min(batch_size, BATCH_PIXELS // math.prod(stored_size(samples[0].path))))
    return batch_size
