"""Work on many files at once, in threads: decoders, hashes and disks do not hold Python's lock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from tqdm import tqdm

from anomalib_flows.core.timing import cores

T = TypeVar("T")
R = TypeVar("R")


def in_threads(work: Callable[[T], R], items: Sequence[T], what: str) -> list[R]:
    """Call a function with each item, and show a bar of progress if it takes long.

    Args:
        work: The function; the first error that it raises ends all.
        items: What to call it with.
        what: What is being done, for the bar.

    Returns:
        What it returned, in the order of the items.

    Example:
        >>> in_threads(abs, [-1, 2], "counting")
        [1, 2]
    """
    with ThreadPoolExecutor(default_threads()) as pool:
        return list(tqdm(pool.map(work, items), what, len(items), leave=False, delay=2, disable=None))


def default_threads() -> int:
    """As many threads as cores that this process may use, at most 8: they rest when enough is read ahead.

    Example:
        >>> 1 <= default_threads() <= 8
        True
    """
    return min(8, cores())
