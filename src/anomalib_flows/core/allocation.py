"""Memory that is used again instead of being given back: half the time of what computes on large tensors on a CPU."""

from __future__ import annotations

import ctypes
import sys

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's mallopt."""
LARGE = 2**30
"""Bytes up to which a piece of memory is kept."""


def keep_memory() -> None:
    """Let glibc keep memory that is freed, for the next tensor of that size; elsewhere do nothing.

    By default pieces of some megabytes are given back to the system at once, and each new one is paid for page by
    page: encoding 32 images by MobileNetV2 takes 60 ms each that way and 31 otherwise.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None and mallopt(MMAP_THRESHOLD, LARGE):  # older ones take no more than they choose themselves
        mallopt(TRIM_THRESHOLD, LARGE)
