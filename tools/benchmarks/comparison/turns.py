"""Processes that take turns, and the statistics of a table."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from comparison.settings import Contender, Setting

WARM_UP = 2
"""Turns that are not counted."""
TOOLS = Path(__file__).parents[1]


def environment(threads: int) -> dict[str, str]:
    """Return the environment of a measured process: the number of threads, and the tools on the import path."""
    path = os.pathsep.join(filter(None, [str(TOOLS), os.environ.get("PYTHONPATH")]))
    return os.environ | {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads), "PYTHONPATH": path}


class Worker:
    """A contender in a process of its own."""

    def __init__(self, python: str, setting: Setting, contender: Contender) -> None:
        self.contender = contender
        command = [python, "-m", "comparison.workers", json.dumps(asdict(setting)), json.dumps(asdict(contender))]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process: Any = subprocess.Popen(command, env=environment(setting.threads), **pipes)
        self.about = self.reply()

    def measure(self) -> Any:
        """Let the process make one call, and return its measurements."""
        with suppress(BrokenPipeError):  # the process has ended: reply() says so
            print(file=self.process.stdin, flush=True)
        return self.reply()

    def reply(self) -> Any:
        """Read one reply, or exit if the process has ended."""
        line = self.process.stdout.readline()
        return json.loads(line) if line else sys.exit(f"{self.contender} ended early: see its error above.")

    def close(self) -> None:
        """End the process."""
        self.process.stdin.close()
        self.process.wait()


def take_turns(contenders: Sequence[Any], repeats: int, warm_up: int = WARM_UP) -> list[list[Any]]:
    """Return the measurements of each contender: one call each per turn, in an order that is reversed every turn."""
    replies: list[list[Any]] = [[] for _ in contenders]
    for turn in range(warm_up + repeats):
        numbered = list(enumerate(contenders))
        for number, contender in numbered[:: -1 if turn % 2 else 1]:
            replies[number].append(contender.measure())
    return [of_one[warm_up:] for of_one in replies]


def ratios(dividends: Sequence[float], divisors: Sequence[float]) -> list[float]:
    """Return the ratios of measurements of the same turn."""
    return [dividend / divisor for dividend, divisor in zip(dividends, divisors, strict=True)]


def spread(values: Sequence[float]) -> str:
    """Format median and quartiles."""
    low, median, high = map(written, statistics.quantiles(values, n=4, method="inclusive"))
    return f"{median} ({low} to {high})"


def written(number: float) -> str:
    """Format a number with three significant digits, or all digits of a larger whole number."""
    return f"{number:.3g}" if abs(number) < 999.5 else f"{number:.0f}"


def processor() -> str:
    """Return the name of the processor, as Linux reports it."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def show(cells: Sequence[str]) -> None:
    """Print a row of a Markdown table."""
    print(f"| {' | '.join(cells)} |", flush=True)


def show_head(columns: Sequence[str]) -> None:
    """Print the head of a Markdown table."""
    show(columns)
    show(["---"] * len(columns))
