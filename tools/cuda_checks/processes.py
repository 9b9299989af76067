"""Run each check in a process of its own, with a time limit: what one does to the device ends with it."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anomalib_flows.core.processes import processes
from cuda_checks.place import Place

Row = dict[str, Any]
"""Measured values by name."""


@dataclass(frozen=True)
class Check:
    """A check: its name, the function that returns rows or raises, its arguments, and a limit in seconds."""

    name: str
    function: Callable[..., list[Row]]
    arguments: tuple[Any, ...] = ()
    limit: float = 120.0


IMPORTED = ["torch", "timm", "lightning", "anomalib_flows.commands.train", "anomalib_flows.experiment.train"]
IMPORTED += ["anomalib_flows.training.fit", "anomalib_flows.results.report"]
"""Modules that processes on a GPU have from the start."""


@dataclass
class Outcome:
    """What came of a check."""

    name: str
    passed: bool
    seconds: float
    message: str = ""
    cpu_seconds: float = 0.0
    rows: list[Row] = field(default_factory=list)
    packages: list[str] = field(default_factory=list)


def run(check: Check, place: Place, seconds_left: float) -> Outcome:
    """Run a check, and return what came of it, also if its process dies or takes too long."""
    limit, began = min(check.limit, seconds_left), time.monotonic()
    if limit <= 0:
        return Outcome(check.name, False, 0.0, "not run: no time was left")
    context = forking(place.device)
    receiver, sender = context.Pipe(duplex=False)
    log = place.folder / "logs" / f"{check.name.replace(' ', '-').replace(',', '')}.txt"
    log.parent.mkdir(parents=True, exist_ok=True)
    process: Any = context.Process(target=work, args=(sender, log, check.function, (place, *check.arguments)))
    process.start()
    sender.close()
    reply = receive(receiver, limit)
    if reply is None and process.is_alive():
        process.kill()
    process.join()
    took = round(time.monotonic() - began, 2)
    if reply is None:
        ended = f"took longer than {limit:.0f} s" if took >= limit else f"its process ended with {process.exitcode}"
        return Outcome(check.name, False, took, f"{ended}; see {log}")
    return Outcome(check.name, not reply["message"], took, **reply)


def forking(device: str) -> Any:
    """Return a context whose processes need not import torch again, and may use CUDA, which their parent has not."""
    return multiprocessing.get_context("fork") if device == "cpu" else processes(IMPORTED)


def receive(receiver: Any, limit: float) -> dict[str, Any] | None:
    """Return what a process sends within a time, or None."""
    try:
        return receiver.recv() if receiver.poll(limit) else None
    except EOFError:
        return None


def work(sender: Any, log: Path, function: Callable[..., list[Row]], arguments: Sequence[Any]) -> None:
    """Call a function, and send its rows, or what it raised in one line; all that it prints goes to a log."""
    with log.open("w", encoding="utf-8") as stream:
        for number in (1, 2):
            os.dup2(stream.fileno(), number)
        rows, message = [], ""
        try:
            rows = function(*arguments)
        except (Exception, SystemExit) as error:  # noqa: BLE001, RUF100 (whatever a check raises is what it found)
            traceback.print_exc()
            message = f"{type(error).__name__}: {error}".strip().splitlines()[0][:500]
        sys.stdout.flush()
        sys.stderr.flush()
    used = os.times()
    cpu = round(used.user + used.system + used.children_user + used.children_system, 2)
    sender.send({"message": message, "rows": rows, "packages": packages(), "cpu_seconds": cpu})


def packages() -> list[str]:
    """Return the names of all imported packages beside Python's own."""
    names = {name.partition(".")[0] for name in list(sys.modules)}
    return sorted(n for n in names if n not in sys.stdlib_module_names and not n.startswith("_"))
