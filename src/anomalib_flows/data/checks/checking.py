"""Find files that cannot be used: all of them before a training, or each one in a stream of images."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.finding import LeftOutWarning
from anomalib_flows.core.images import MAX_MEGAPIXELS, require_pixels
from anomalib_flows.core.types import ANOMALOUS, Sample
from anomalib_flows.data.checks.facts import Facts, Inspected, MaskFacts, find_facts
from anomalib_flows.data.checks.remarks import about_darkness, about_empty_masks, about_odd_masks, about_pages, itemise
from anomalib_flows.data.datasets.base import Dataset
from anomalib_flows.data.loading.reading import no_masks, require_shape
from anomalib_flows.run.options import OnError

FOLDERS = 4
"""Number of folders whose left-out files are named one by one."""


class Checker:
    """Check images one by one while they are read, and warn of all findings once at the end.

    The methods are called from one thread, in the order of the images. ``on_error`` is ``stop`` to raise at the first
    file that cannot be read, or ``skip`` to list such files at the end. ``done`` images were checked before.
    """

    def __init__(self, on_error: OnError, done: int = 0) -> None:
        self.on_error = on_error
        self.faults: list[str] = []
        self.empty_masks: list[Sample] = []
        self.images, self.brightest = done, 255 if done else 0

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
    for remark in (*about_odd_masks(found), *about_pages(found)):
        warnings.warn(remark, stacklevel=2)
    return samples


def list_samples(dataset: Dataset) -> list[Sample]:
    """List the images of a dataset; of the warnings about files that are not read, the first few are shown."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        samples = dataset.samples()
    left_out = [warning for warning in caught if issubclass(warning.category, LeftOutWarning)]
    others = [warning for warning in caught if not issubclass(warning.category, LeftOutWarning)]
    for warning in (*others, *left_out[:FOLDERS]):
        warnings.warn(warning.message, stacklevel=2)
    if (rest := len(left_out) - FOLDERS) > 0:
        text = f"Files of {rest} more folders are left out: 'anomalib-flows data check' lists them."
        warnings.warn(text, LeftOutWarning, stacklevel=2)
    return samples


def inspect_samples(samples: Sequence[Sample], max_megapixels: float = MAX_MEGAPIXELS) -> list[Inspected]:
    """Read and inspect all images and masks, in threads."""
    facts = find_facts(samples, max_megapixels)
    return [_inspected(sample, one, max_megapixels) for sample, one in zip(samples, facts, strict=True)]


def _inspected(sample: Sample, facts: Facts, max_megapixels: float) -> Inspected:
    image = facts.image
    if isinstance(image, InputError):
        return Inspected(sample, str(image))
    size = (image.height, image.width)
    masks: list[MaskFacts] = []
    try:
        require_pixels(sample.path, size, max_megapixels)  # what is remembered was read with another limit
        for file, mask in facts.masks:
            if isinstance(mask, InputError):
                raise mask
            require_shape(file, (mask.height, mask.width), size, sample.path)
            masks.append(mask)
        if sample.mask and not masks:
            raise no_masks(sample.mask, sample.path)
    except InputError as fault:
        return Inspected(sample, str(fault))
    marked = sum(mask.marked for mask in masks) / (image.height * image.width) if masks else None
    levels = max((mask.levels for mask in masks), default=0)
    return Inspected(sample, "", size, image.brightest, image.pages, marked, levels)


def inspected(sample: Sample, image: npt.ArrayLike, mask: npt.ArrayLike | None) -> Inspected:
    """Return the properties of an image that was read, except for its size; see :meth:`Checker.image`."""
    brightest = int(np.asarray(image).max())  # torch is slow at values in the order of a decoder
    return Inspected(sample, brightest=brightest, marked=None if mask is None else float(np.asarray(mask).mean()))


def stop_at(faults: Sequence[str]) -> NoReturn:
    """Raise an error for the first fault."""
    more = f" ({len(faults)} files have faults)" if len(faults) > 1 else ""
    raise InputError(f"{faults[0].removesuffix('.')}, or skip it with `loader.on_error` skip{more}.")
