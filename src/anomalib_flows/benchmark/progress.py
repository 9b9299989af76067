"""How far a grid is: the runs that have ended, and the steps of those that train."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

from tqdm import tqdm

from anomalib_flows.benchmark.grid import Cell

STAGES = {b"Training": (0.0, 0.8), b"Predicting": (0.8, 0.2)}
"""Bars in the log of a run: where a stage begins, and its share. Training took 73 and 76 % of two measured runs."""
BAR = re.compile(rb"(Training|Predicting): +(\d+)%")
END = 4096
"""Bytes at the end of a log that are searched for it."""


def log_of(folder: Path, cell: Cell) -> Path:
    """Return the file for what a run prints."""
    return folder / "logs" / f"{cell.dataset}-{cell.category}-{cell.name}.txt"


def share_done(log: Path, since: float) -> float:
    """Return about how much of a run is done; 0 if its log was not written to since a time."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - END))
            found = BAR.findall(stream.read()) if log.stat().st_mtime >= since else []
    except OSError:
        return 0.0
    if not found:
        return 0.0
    (begin, share), percent = STAGES[found[-1][0]], int(found[-1][1])
    return begin + share * percent / 100


class GridBar:
    """A bar over all runs, in which those that are under way count in part: there is an estimate before one has ended.

    Args:
        folder: Folder of the results.
        total: Number of runs.
        missing: Runs that are to be made.
    """

    def __init__(self, folder: Path, total: int, missing: Sequence[Cell]) -> None:
        self.folder, self.total, self.missing, self.since = folder, total, list(missing), time.time()
        form = "{desc} |{bar}| {percentage:3.0f}% [{elapsed}<{remaining}]"
        self.bar = tqdm(total=total, initial=total - len(missing), bar_format=form)

    def end(self, cell: Cell, line: str) -> None:
        """Print a line for a run that has ended."""
        self.missing.remove(cell)
        self.update()
        self.bar.write(line)  # which draws the bar again

    def update(self) -> None:
        """Find the state of all runs."""
        missing = list(self.missing)
        ended = self.total - len(missing)
        self.bar.n = ended + sum(share_done(log_of(self.folder, cell), self.since) for cell in missing)
        self.bar.set_description_str(f"{ended} of {self.total} runs", refresh=False)

    @contextmanager
    def alive(self) -> Iterator[None]:
        """Keep the bar up to date for the block."""
        stopped, pause = Event(), 2.0 if sys.stderr.isatty() else 60.0

        def repeat() -> None:
            while not stopped.wait(pause):
                self.update()
                self.bar.refresh()

        thread = Thread(target=repeat, daemon=True)
        self.update()
        thread.start()
        try:
            yield
        finally:
            stopped.set()
            thread.join()
            self.bar.close()
