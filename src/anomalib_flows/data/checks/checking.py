"""Find files that cannot be used: all of them before a training, or each one in a stream of images."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple, NoReturn

import numpy as np
import numpy.typing as npt

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.files import map_in_threads
from anomalib_flows.core.images import MAX_MEGAPIXELS
from anomalib_flows.core.types import ANOMALOUS, ImageSize, Sample
from anomalib_flows.data.loading.reading import read_sample
from anomalib_flows.run.options import OnError

LISTED = 10
"""Number of files that a warning lists."""
MAX_LEVEL, DARK = 255, 64  # up to 14 bits in a file of 16 stay below a quarter of the range


class Inspected(NamedTuple):
    """Properties of an image and its mask, or else why a file cannot be read.

    ``size`` is height and width, ``brightest`` the largest value, from 0 to 255. An empty mask has no defective pixel.
    """

    sample: Sample
    fault: str = ""
    size: ImageSize = (0, 0)
    brightest: int = 0
    empty_mask: bool = False


class Checker:
    """Check images one by one while they are read, and warn of all findings once at the end.

    The methods are called from one thread, in the order of the images. ``on_error`` is ``stop`` to raise at the first
    file that cannot be read, or ``skip`` to list such files at the end.
    """

    def __init__(self, on_error: OnError) -> None:
        self.on_error = on_error
        self.faults: list[str] = []
        self.empty_masks: list[Sample] = []
        self.images, self.brightest = 0, 0

    def fault(self, error: InputError) -> None:
        """Note a file that cannot be read, or raise its error if ``on_error`` is ``stop``."""
        if self.on_error == "stop":
            stop_at([str(error)])
        self.faults.append(str(error))

    def image(self, sample: Sample, image: npt.ArrayLike, mask: npt.ArrayLike | None) -> Sample:
        """Note an image, and return its sample; an empty mask counts as no mask.

        The image has values from 0 to 255 and the shape (3, h, w) or (h, w, 3), the mask the shape (h, w).
        """
        return self.add(inspected(sample, image, mask))

    def add(self, found: Inspected) -> Sample:
        """Note an image that was inspected, and return its sample; an empty mask counts as no mask."""
        self.images += 1
        self.brightest = max(self.brightest, found.brightest)
        if not found.empty_mask:
            return found.sample
        if found.sample.label == ANOMALOUS:
            self.empty_masks.append(found.sample)
        return replace(found.sample, mask=None)

    def finish(self) -> None:
        """Warn of skipped files, empty masks and images that are all dark; raise an error if no file could be read."""
        if self.faults:
            warnings.warn(itemise("Images that are left out", self.faults), stacklevel=2)
            if not self.images:
                raise InputError(f"None of {len(self.faults)} images can be read. {self.faults[0]}")
        if self.empty_masks:
            warnings.warn(about_empty_masks(self.empty_masks), stacklevel=2)
        if self.images and (warning := about_darkness(self.brightest)):
            warnings.warn(warning, stacklevel=2)


def check(samples: Sequence[Sample], on_error: OnError, max_megapixels: float = MAX_MEGAPIXELS) -> list[Sample]:
    """Read all images and masks, and return the samples that can be used.

    An empty mask of a defective image does not say where the defect is, so it counts as no mask. A file that cannot be
    read raises an InputError if ``on_error`` is ``stop``, and is left out with a warning if it is ``skip``.
    """
    return usable(inspect_samples(samples, max_megapixels), on_error)


def usable(found: Sequence[Inspected], on_error: OnError) -> list[Sample]:
    """Return the samples that can be used, as :func:`check` does, of files that were inspected."""
    faults = [one.fault for one in found if one.fault]
    if faults and on_error == "stop":
        stop_at(faults)
    checker = Checker(on_error)
    checker.faults = faults
    samples = [checker.add(one) for one in found if not one.fault]
    checker.finish()
    return samples


def inspect_samples(samples: Sequence[Sample], max_megapixels: float = MAX_MEGAPIXELS) -> list[Inspected]:
    """Read and inspect all images and masks, in threads."""
    return map_in_threads(partial(_inspect, max_megapixels=max_megapixels), samples, "reading")


def _inspect(sample: Sample, max_megapixels: float) -> Inspected:
    try:
        image, mask = read_sample(sample, max_megapixels)
    except InputError as fault:
        return Inspected(sample, str(fault))
    return inspected(sample, image, mask)._replace(size=(image.shape[1], image.shape[2]))


def inspected(sample: Sample, image: npt.ArrayLike, mask: npt.ArrayLike | None) -> Inspected:
    """Return the properties of an image that was read, except for its size; see :meth:`Checker.image`."""
    brightest = int(np.asarray(image).max())  # torch is slow at values in the order of a decoder
    return Inspected(sample, brightest=brightest, empty_mask=mask is not None and not np.asarray(mask).any())


def stop_at(faults: Sequence[str]) -> NoReturn:
    """Raise an error for the first fault."""
    more = f" ({len(faults)} files have faults)" if len(faults) > 1 else ""
    raise InputError(f"{faults[0].removesuffix('.')}, or skip it with `loader.on_error` skip{more}.")


def itemise(title: str, items: Sequence[object]) -> str:
    """Return a title with the number of items, and the first of them below it, one per line."""
    rest = [f"and {len(items) - LISTED} more"] * (len(items) > LISTED)
    return "\n  ".join([f"{title} ({len(items)}):", *map(str, items[:LISTED]), *rest])


def about_empty_masks(samples: Sequence[Sample]) -> str:
    """Return a warning of empty masks."""
    some = ", ".join(str(sample.mask) for sample in samples[:4]) + (", ..." if len(samples) > 4 else "")
    return f"{len(samples)} masks of defective images are empty ({some}): these images count for image metrics only."


def about_darkness(brightest: int) -> str:
    """Return a warning if the brightest value of all images is so low that their upper bits must be empty."""
    if brightest >= DARK:
        return ""
    return (
        f"No image has a value above {brightest} of {MAX_LEVEL}: if the camera wrote 10 or 12 bits into "
        "files of 16 bits, stretch the values to the full range first."
    )
