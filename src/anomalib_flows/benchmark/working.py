"""A run of a grid in a process of its own: what one run does to memory, threads and devices ends with it."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

from anomalib_flows.benchmark.grid import Cell
from anomalib_flows.core.errors import InputError, first_line
from anomalib_flows.core.processes import end_with_parent
from anomalib_flows.run.directory import Run

IMPORTED = ["torch", "timm", "lightning", "anomalib_flows.experiment.train", "anomalib_flows.training.fit"]
IMPORTED += ["anomalib_flows.results.report", "anomalib_flows.models.fastflow", "anomalib_flows.models.cflow"]
"""Modules that all processes share, since importing them takes seconds."""


class Outcome(NamedTuple):
    """What came of a run: why it failed, or an empty text; and its duration if it was not continued."""

    error: str
    seconds: float | None = None


def work(sender: Connection, cell: Cell, threads: int, log: Path, test: bool) -> None:
    """Make or continue a run, and send its outcome."""
    end_with_parent()
    if hasattr(os, "setpgrp"):
        os.setpgrp()  # Ctrl-C reaches the parent alone, which passes it on once
    sender.send(logged_outcome_of(cell, threads, log, test))


def logged_outcome_of(cell: Cell, threads: int, log: Path, test: bool) -> Outcome:
    """Make or continue a run in a process of its own, whose output goes to a log; return what came of it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with log.open("a", encoding="utf-8", errors="backslashreplace") as stream:
        for number in (1, 2):
            os.dup2(stream.fileno(), number)
        outcome = outcome_of(cell, threads, test)
        sys.stdout.flush()
        sys.stderr.flush()
    return outcome


def outcome_of(cell: Cell, threads: int, test: bool) -> Outcome:
    """Make or continue a run, and return what came of it."""
    import torch

    from anomalib_flows.experiment.train import train

    torch.set_num_threads(threads)
    began, continued = time.perf_counter(), Run(cell.path).config_file.exists()
    try:
        if continued:
            train(cell.config, resume=cell.path, test=test)
        else:
            train(cell.config, name=cell.name, test=test)
    except InputError as error:
        return Outcome(str(error))
    except KeyboardInterrupt:
        return Outcome("interrupted")
    except Exception as error:  # a bug in one run, or in a plug-in, does not stop the others
        traceback.print_exc()
        return Outcome(f"{type(error).__name__}: {first_line(error)}")
    return Outcome("", None if continued else round(time.perf_counter() - began, 1))
