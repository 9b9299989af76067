"""Processes that take turns, and what a table says of them."""

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
TOOLS = Path(__file__).parents[1]


def environment(threads: int) -> dict[str, str]:
    """Environment of a process that is measured: so many threads, and the tools importable."""
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
        with suppress(BrokenPipeError):  # it has ended, which its reply tells
            print(file=self.process.stdin, flush=True)
        return self.reply()

    def reply(self) -> Any:
        line = self.process.stdout.readline()
        return json.loads(line) if line else sys.exit(f"{self.contender} ended early: see its error above.")

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def take_turns(contenders: Sequence[Any], repeats: int, warm_up: int = WARM_UP) -> list[list[Any]]:
    """Return what each contender measured; one call each in turn, in an order that is reversed every time."""
    replies: list[list[Any]] = [[] for _ in contenders]
    for turn in range(warm_up + repeats):
        numbered = list(enumerate(contenders))
        for number, contender in numbered[:: -1 if turn % 2 else 1]:
            replies[number].append(contender.measure())
    return [of_one[warm_up:] for of_one in replies]


def ratios(dividends: Sequence[float], divisors: Sequence[float]) -> list[float]:
    """Ratios of what was measured in the same turn."""
    return [dividend / divisor for dividend, divisor in zip(dividends, divisors, strict=True)]


def spread(values: Sequence[float]) -> str:
    """Median and quartiles."""
    low, median, high = map(written, statistics.quantiles(values, n=4, method="inclusive"))
    return f"{median} ({low} to {high})"


def written(number: float) -> str:
    """Write three digits, or all of a whole number that has more."""
    return f"{number:.3g}" if abs(number) < 999.5 else f"{number:.0f}"


def processor() -> str:
    """Name of the processor, where Linux tells it."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def show(cells: Sequence[str]) -> None:
    print(f"| {' | '.join(cells)} |", flush=True)


def show_head(columns: Sequence[str]) -> None:
    show(columns)
    show(["---"] * len(columns))
