"""Sentences about what is odd in a dataset, for warnings and reports."""

from __future__ import annotations

from collections.abc import Sequence

from anomalib_flows.core.types import Sample
from anomalib_flows.data.checks.facts import Inspected

LISTED = 10
"""Number of files that a warning lists."""
LEVELS = 16
"""Largest number of values of a mask whose values are classes of defects."""
MAX_LEVEL, DARK = 255, 64  # up to 14 bits in a file of 16 stay below a quarter of the range


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


def about_odd_masks(found: Sequence[Inspected]) -> list[str]:
    """Return warnings of masks that seem to be blurred or inverted."""
    grey = [one.sample.mask for one in found if one.levels > LEVELS]
    inverted = [one.sample.mask for one in found if (one.marked or 0) > 0.5]
    blurred = (
        f"{len(grey)} masks have more than {LEVELS} different values (the first is {grey[0]}). Every value but 0 "
        "is a defect: set values that compression or smoothing left around the defects to 0."
        if grey
        else ""
    )
    full = (
        f"{len(inverted)} masks mark more than half of their image as a defect (the first is {inverted[0]}): invert "
        "them if white means good."
        if inverted
        else ""
    )
    return [text for text in (blurred, full) if text]


def about_pages(found: Sequence[Inspected]) -> list[str]:
    """Return a warning of files with several pages, if there are any."""
    paged = [one for one in found if one.pages > 1]
    if not paged:
        return []
    pages = sum(one.pages - 1 for one in paged)
    text = f"{len(paged)} files have several pages, of which the first is read and {pages} are not (the first file is "
    return [f"{text}{paged[0].sample.path}): save the pages as single images if they are photos."]
