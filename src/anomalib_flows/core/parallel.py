"""Work on many files at once in threads: decoders, hashes and disks do not hold Python's lock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from tqdm.contrib.concurrent import thread_map

from anomalib_flows.core.timing import cores

T = TypeVar("T")
R = TypeVar("R")


def map_in_threads(work: Callable[[T], R], items: Sequence[T], title: str) -> list[R]:
    """Apply a function to each item in threads, and return the results in order; its first error ends the work.

    A progress bar with the title appears after two seconds.
    """
    return thread_map(work, items, max_workers=default_threads(), desc=title, leave=False, delay=2, disable=None)


def default_threads() -> int:
    """Return the number of cores that this process may use, at most 8."""
    return min(8, cores())
