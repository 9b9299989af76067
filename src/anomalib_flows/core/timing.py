"""Time what is called again and again."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice

import numpy as np

WARM_UP = 5
"""Calls that are not counted, at least: the first ones prepare for the size of the images."""
LEAST = 10
"""Calls that are counted, at least."""

Spent = Callable[[float], object]
"""Told how many seconds went by."""


@dataclass(frozen=True)
class Times:
    """Milliseconds that one call takes.

    Args:
        median_ms: Half of the calls took no longer.
        p90_ms: 90 % of them took no longer.
        p99_ms: 99 % of them took no longer.
        calls: How many there were.
    """

    median_ms: float
    p90_ms: float
    p99_ms: float
    calls: int


def repeat(calls: Sequence[Callable[[], object]], seconds: float, spent: Spent) -> Iterator[float]:
    """Call functions in turn until the time is over, and yield after each call how many seconds it took.

    Args:
        calls: What is called; first each of them without being counted.
        seconds: How long to go on.
        spent: Told of the time that goes by.
    """
    for call in islice(cycle(calls), max(WARM_UP, len(calls))):
        call()
    begin = last = time.perf_counter()
    for number, call in enumerate(cycle(calls), start=1):
        start = time.perf_counter()
        call()
        end = time.perf_counter()
        yield end - start
        spent(end - last)
        last = end
        if end - begin >= seconds and number >= LEAST:
            break


def timed(calls: Sequence[Callable[[], object]], seconds: float, spent: Spent) -> Times:
    """Summarise the times of :func:`repeat`."""
    return summary(list(repeat(calls, seconds, spent)))


def summary(durations: Sequence[float]) -> Times:
    """Summarise durations in seconds.

    Example:
        >>> summary([0.001, 0.002, 0.003]).median_ms
        2.0
    """
    median, p90, p99 = (1000 * float(value) for value in np.percentile(durations, (50, 90, 99)))
    return Times(median, p90, p99, len(durations))


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
