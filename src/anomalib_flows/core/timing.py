"""Time functions that are called repeatedly."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice

import numpy as np

WARM_UP = 5
"""Minimum of calls before the measurement: the first ones prepare for the size of the images."""
MIN_CALLS = 10
"""Minimum of calls that are measured."""

Elapsed = Callable[[float], object]
"""Function that is called with the seconds that have passed since its last call."""


@dataclass(frozen=True)
class Times:
    """Milliseconds that one call takes: median, 90th and 99th percentile."""

    median_ms: float
    p90_ms: float
    p99_ms: float
    calls: int


def repeat(calls: Sequence[Callable[[], object]], seconds: float, elapsed: Elapsed) -> Iterator[float]:
    """Call functions in turn for some seconds, and yield the duration of each call in seconds.

    Each function is first called once without being measured.
    """
    for call in islice(cycle(calls), max(WARM_UP, len(calls))):
        call()
    begin = last = time.perf_counter()
    for number, call in enumerate(cycle(calls), start=1):
        start = time.perf_counter()
        call()
        end = time.perf_counter()
        yield end - start
        elapsed(end - last)
        last = end
        if end - begin >= seconds and number >= MIN_CALLS:
            break


def timed(calls: Sequence[Callable[[], object]], seconds: float, elapsed: Elapsed) -> Times:
    """Summarise the durations of :func:`repeat`."""
    return summary(list(repeat(calls, seconds, elapsed)))


def summary(durations: Sequence[float]) -> Times:
    """Summarise durations in seconds."""
    median, p90, p99 = (1000 * float(value) for value in np.percentile(durations, (50, 90, 99)))
    return Times(median, p90, p99, len(durations))


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
