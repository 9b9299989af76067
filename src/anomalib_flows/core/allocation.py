"""Reuse freed memory: computing on large tensors on a CPU takes half the time."""

from __future__ import annotations

import ctypes
import sys

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's mallopt."""
LARGE = 2**30
"""Size limit, in bytes, of the blocks that are kept."""


def keep_memory() -> None:
    """Let glibc keep freed memory for the next tensor of that size; on other systems do nothing.

    By default glibc returns blocks of some megabytes to the system at once, and the system clears each page of a new
    block. Encoding 32 images by MobileNetV2 takes 60 ms per image that way, and 31 ms otherwise.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None and mallopt(MMAP_THRESHOLD, LARGE):  # old versions refuse large values
        mallopt(TRIM_THRESHOLD, LARGE)
