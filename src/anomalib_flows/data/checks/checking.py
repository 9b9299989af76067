"""Read every file once before anything is trained, so that a bad one is found in seconds, not after hours."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.parallel import in_threads
from anomalib_flows.core.types import ANOMALOUS, ImageSize, Sample
from anomalib_flows.data.loading.reading import read_sample

LISTED = 10
"""How many files a warning names."""
MAX_LEVEL, DARK = 255, 64  # up to 14 bits in a file of 16 stay below a quarter of the range


def check(samples: list[Sample], on_error: Literal["stop", "skip"]) -> list[Sample]:
    """Read all images and masks, and return the samples that are fit for use.

    An empty mask of a defective image says nothing about where the defect is, so it is taken for no mask.

    Args:
        samples: The images of all splits.
        on_error: ``stop`` at files that cannot be read, or ``skip`` them with a warning.

    Raises:
        InputError: If a file cannot be read, or a mask differs from its image in size, and ``on_error`` is
            ``stop``.
    """
    found = inspect(samples)
    faults = [one.fault for one in found if one.fault]
    if faults:
        report_faults(faults, on_error)
    if samples and len(faults) == len(samples):
        raise InputError(f"None of {len(samples)} images can be read. {faults[0]}")
    fit = [one for one in found if not one.fault]
    _warn_of_empty_masks([one.sample for one in fit if one.empty_mask and one.sample.label == ANOMALOUS])
    if said := darkness(fit):
        warnings.warn(said, stacklevel=2)
    return [replace(one.sample, mask=None) if one.empty_mask else one.sample for one in fit]


class Inspected(NamedTuple):
    """What was found when an image was read: what is wrong, or else its size and its brightest value."""

    sample: Sample
    fault: str = ""
    size: ImageSize = (0, 0)
    brightest: int = 0
    empty_mask: bool = False


def inspect(samples: list[Sample]) -> list[Inspected]:
    """Read all images and masks."""
    return in_threads(_inspect, samples, "reading")


def _inspect(sample: Sample) -> Inspected:
    try:
        image, mask = read_sample(sample)
    except InputError as fault:
        return Inspected(sample, str(fault))
    empty = mask is not None and not mask.numpy().any()
    brightest = int(image.numpy().max())  # torch is slow at values in this order
    return Inspected(sample, "", (image.shape[1], image.shape[2]), brightest, empty)


def report_faults(faults: list[str], on_error: Literal["stop", "skip"]) -> None:
    """Stop at the first fault, or warn of all of them.

    Raises:
        InputError: If ``on_error`` is ``stop``.
    """
    if on_error == "stop":
        more = f" ({len(faults)} files have faults)" if len(faults) > 1 else ""
        raise InputError(f"{faults[0].removesuffix('.')}, or go on without it by --data.on_error skip{more}.")
    warnings.warn(itemise("Images that are left out", faults), stacklevel=3)


def itemise(title: str, items: Sequence[object]) -> str:
    """Count items in a title, and put them below it, a line each, as many as one reads."""
    rest = [f"and {len(items) - LISTED} more"] * (len(items) > LISTED)
    return "\n  ".join([f"{title} ({len(items)}):", *map(str, items[:LISTED]), *rest])


def _warn_of_empty_masks(samples: list[Sample]) -> None:
    if samples:
        some = ", ".join(str(sample.mask) for sample in samples[:4]) + (", ..." if len(samples) > 4 else "")
        warnings.warn(
            f"{len(samples)} masks of defective images are empty ({some}): these images count for image metrics only.",
            stacklevel=3,
        )


def darkness(found: list[Inspected]) -> str:
    """Say that all images are so dark that their upper bits must be empty, if they are."""
    brightest = max((one.brightest for one in found), default=MAX_LEVEL)
    if brightest >= DARK:
        return ""
    return (
        f"No image has a value above {brightest} of {MAX_LEVEL}: if the camera wrote 10 or 12 bits into "
        "files of 16 bits, stretch the values to the full range first."
    )
