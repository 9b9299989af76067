"""Runs in processes of this machine, some at once."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from multiprocessing.connection import wait
from typing import Any

from anomalib_flows.benchmark.grid import Cell
from anomalib_flows.benchmark.running import Plan
from anomalib_flows.benchmark.working import IMPORTED, Outcome, work
from anomalib_flows.core.processes import processes
from anomalib_flows.core.timing import cores

GIB_EACH = 3
"""Memory that a run may take, in GiB, where the number of runs at once is not given."""
PATIENCE = 10
"""Seconds in which runs may end their step after Ctrl-C; then they are killed, and lose what they have not kept."""


def runs_at_once(wanted: int | None) -> int:
    """Return how many runs are made at once: one for each core, as far as the memory allows."""
    if wanted:
        return wanted
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0
    return max(1, min(cores(), pages // (GIB_EACH * 2**30)))


def ended_runs(plan: Plan, at_once: int) -> Iterator[tuple[Cell, Outcome]]:
    """Make the missing runs in processes, some at once; yield each one with its outcome when it has ended."""
    waiting, active = list(plan.missing), dict[Any, tuple[Any, Cell]]()
    try:
        while waiting or active:
            while waiting and len(active) < at_once:
                process, receiver = started(plan, waiting[0], max(1, cores() // at_once))
                active[receiver] = process, waiting.pop(0)
            for receiver in wait(list(active)):
                process, cell = active.pop(receiver)
                yield cell, received(process, receiver)
    finally:
        stop(process for process, _ in active.values())


def started(plan: Plan, cell: Cell, threads: int) -> tuple[Any, Any]:
    """Start the process of a run; return it with the end of a pipe that receives its outcome."""
    context = processes(IMPORTED)
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=work, args=(sender, cell, threads, plan.log_of(cell), not plan.validation))
    process.start()
    sender.close()
    return process, receiver


def received(process: Any, receiver: Any) -> Outcome:
    """Return the outcome of a process that has ended, or closed its end."""
    try:
        outcome: Outcome = receiver.recv()
    except EOFError:
        process.join()
        return Outcome(f"its process ended with the code {process.exitcode}: try with fewer `workers`")
    process.join()
    return outcome


def stop(ended_early: Iterable[Any]) -> None:
    """Let processes end after their step, as by Ctrl-C."""
    running = list(ended_early)
    for process in running:
        with suppress(OSError, TypeError):
            os.kill(process.pid, signal.SIGINT)
    ends = time.monotonic() + PATIENCE
    for process in running:
        process.join(max(0, ends - time.monotonic()))
        process.kill()
