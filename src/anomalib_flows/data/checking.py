"""Read every file once before anything is trained, so that a bad one is found in seconds, not after hours."""

from __future__ import annotations

import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Literal

from tqdm import tqdm

from anomalib_flows.data.reading import read_sample
from anomalib_flows.types import ANOMALOUS, InputError, Sample

LISTED = 10
"""How many left-out files a warning names."""
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
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:  # Pillow decodes without holding the GIL
        found = list(tqdm(pool.map(_inspect, samples), "reading", len(samples), leave=False, delay=2, disable=None))
    faults = [fault for fault, _ in found if isinstance(fault, str)]
    if faults:
        _report_faults(faults, on_error)
    if samples and len(faults) == len(samples):
        raise InputError(f"None of {len(samples)} images can be read. {faults[0]}")
    fit = [(old, new, level) for old, (new, level) in zip(samples, found, strict=True) if isinstance(new, Sample)]
    _warn_of_empty_masks([old for old, new, _ in fit if old.label == ANOMALOUS and old.mask and not new.mask])
    _warn_of_dark_images(max((level for _, _, level in fit), default=MAX_LEVEL))
    return [new for _, new, _ in fit]


def _inspect(sample: Sample) -> tuple[Sample | str, int]:
    """Read a sample; return it, or what is wrong with it, and the brightest of its pixels."""
    try:
        image, mask = read_sample(sample)
    except InputError as fault:
        return str(fault), 0
    return sample if mask is None or mask.any() else replace(sample, mask=None), int(image.max())


def _report_faults(faults: list[str], on_error: Literal["stop", "skip"]) -> None:
    """Stop at the first fault, or warn of all of them."""
    if on_error == "stop":
        more = f" ({len(faults)} files have faults)" if len(faults) > 1 else ""
        raise InputError(f"{faults[0].removesuffix('.')}, or go on without it by --data.on_error skip{more}.")
    lines = faults[:LISTED] + ([f"and {len(faults) - LISTED} more"] if len(faults) > LISTED else [])
    warnings.warn("\n  ".join([f"Images that are left out ({len(faults)}):", *lines]), stacklevel=3)


def _warn_of_empty_masks(samples: list[Sample]) -> None:
    if samples:
        some = ", ".join(str(sample.mask) for sample in samples[:4]) + (", ..." if len(samples) > 4 else "")
        warnings.warn(
            f"{len(samples)} masks of defective images are empty ({some}): these images count for image metrics only.",
            stacklevel=3,
        )


def _warn_of_dark_images(brightest: int) -> None:
    if brightest < DARK:
        warnings.warn(
            f"No image has a value above {brightest} of {MAX_LEVEL}: if the camera wrote 10 or 12 bits into "
            "files of 16 bits, stretch the values to the full range first.",
            stacklevel=3,
        )
