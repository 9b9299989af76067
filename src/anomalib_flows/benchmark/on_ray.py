"""Runs on a Ray cluster: Ray schedules them, gives each its CPUs and GPUs, and repeats those of lost workers."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from anomalib_flows import __version__
from anomalib_flows.benchmark.grid import Cell
from anomalib_flows.benchmark.on_this_machine import PATIENCE, runs_at_once
from anomalib_flows.benchmark.options import Execution
from anomalib_flows.benchmark.running import EndedRuns, Plan
from anomalib_flows.benchmark.working import Outcome, logged_outcome_of
from anomalib_flows.core.errors import InputError
from anomalib_flows.core.files import temporary_folder
from anomalib_flows.core.timing import cores

RETRIES = 3
"""Number of times that a run is continued after the loss of its worker."""
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_task_oom_retries": str(RETRIES)}
LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""Lets Ray listen on 127.0.0.1 alone, on every system: whoever reaches its ports can run code."""
SILENT: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
ANSWER = 20
"""Seconds in which a cluster must answer."""


@contextmanager
def on_ray(options: Execution, plan: Plan) -> Iterator[tuple[EndedRuns, int]]:
    """Connect to a Ray cluster, or start one here; yield what makes the missing runs, and how many at once.

    Raises:
        InputError: If Ray is missing, cannot be reached, or has no room for a run.
    """
    ray = connected(options.address)
    try:
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        gpus = options.gpus_per_run
        if gpus is None:
            wanted = any(cell.config.trainer.accelerator != "cpu" for cell in plan.cells)
            gpus = float(wanted and any(node.get("GPU") for node in nodes))
        needed = {"CPU": options.cpus_per_run or 1, "GPU": gpus}
        missing = max(1, len(plan.missing))
        most = options.workers or (missing if options.address else runs_at_once(None))
        yield partial(ended_runs, at_once=most, needed=needed), min(most, room(nodes, needed), missing)
    finally:
        ray.shutdown()


def connected(address: str | None) -> Any:
    """Return the module ray, connected to a cluster, or to one that is started on this machine alone."""
    os.environ.update(QUIET if address else QUIET | LOOPBACK)  # read when ray is imported
    try:
        import ray.exceptions
    except ImportError as error:
        raise InputError("`executor` ray needs the module ray: run pip install 'ray[data]'.") from error
    if address not in (None, "auto"):
        require_answer(address)
    try:
        if address is None:
            memory = 80 * 2**20  # the least that Ray takes: runs exchange files
            ray.init("local", num_cpus=cores(), include_dashboard=False, object_store_memory=memory, **SILENT)
        else:
            ray.init(address, **SILENT)
    except (ConnectionError, RuntimeError, ValueError) as error:
        what = f"connect to `address` {address}" if address else "start on this machine"
        raise InputError(f"Ray cannot {what} ({' '.join(str(error).split())}).") from error
    return ray


def require_answer(address: str) -> None:
    """Raise an InputError unless a cluster answers within some seconds; Ray itself would try for two minutes."""
    words = [sys.executable, "-c", "import sys, ray; ray.init(sys.argv[1], log_to_driver=False)", address]
    try:
        subprocess.run(words, capture_output=True, timeout=ANSWER, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        raise InputError(
            f"`address` {address}: no Ray cluster answers there: start one with 'ray start --head', or set "
            "RAY_AUTH_MODE=token if it asks for a token."
        ) from None


def room(nodes: list[dict[str, float]], needed: Mapping[str, float]) -> int:
    """Return how many runs fit on the machines of a cluster at once.

    Raises:
        InputError: If none does: Ray would wait for such a machine.
    """
    wanted = {name: amount for name, amount in needed.items() if amount}
    found = sum(min(int(node.get(name, 0) / amount + 1e-6) for name, amount in wanted.items()) for node in nodes)
    if not found:
        have = "; ".join(f"{node.get('CPU', 0):g} CPUs and {node.get('GPU', 0):g} GPUs" for node in nodes)
        raise InputError(
            f"No machine of the Ray cluster has {needed['CPU']:g} CPUs and {needed['GPU']:g} GPUs for a run (there "
            f"are: {have}): set `cpus_per_run` and `gpus_per_run`."
        )
    return found


def ended_runs(plan: Plan, *, at_once: int, needed: Mapping[str, float]) -> Iterator[tuple[Cell, Outcome]]:
    """Make the missing runs on the cluster, each in a process of its own; yield each one with its outcome."""
    import ray

    threads, gpus = int(needed["CPU"]), needed["GPU"]
    task = ray.remote(num_cpus=threads, num_gpus=gpus, max_calls=1, max_retries=RETRIES)(make)
    waiting, active = list(plan.missing), dict[Any, Cell]()
    with temporary_folder(plan.folder.absolute()) as mark:
        try:
            while waiting or active:
                while waiting and len(active) < at_once:
                    cell = waiting.pop(0)
                    made = task.options(name=str(cell)).remote(
                        cell, threads, plan.log_of(cell), not plan.validation, mark, __version__
                    )
                    active[made] = cell
                for made in ray.wait(list(active))[0]:
                    yield active.pop(made), received(made)
        finally:
            stop(active)


def stop(active: Iterable[Any]) -> None:
    """Let runs end after their step, as by Ctrl-C."""
    import ray

    running = list(active)
    for made in running:
        ray.cancel(made)
    late = ray.wait(running, num_returns=len(running), timeout=PATIENCE)[1] if running else []
    for made in late:
        ray.cancel(made, force=True)


def make(cell: Cell, threads: int, log: Path, test: bool, mark: Path, version: str) -> Outcome:
    """Make or continue a run, in a worker of Ray; ``mark`` is a folder that the command has just made."""
    if version != __version__:
        raise InputError(f"{socket.gethostname()} has version {__version__}: install {version} on all machines.")
    if not mark.is_dir():
        raise InputError(f"{socket.gethostname()} cannot see {mark.parent}: `output` must be on a disk that all share.")
    return logged_outcome_of(cell, threads, log, test)


def received(made: Any) -> Outcome:
    """Return the outcome of a run; one whose worker was lost too often has failed."""
    import ray

    try:
        outcome: Outcome = ray.get(made)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, InputError):
            raise error.cause from None
        fault = str(error).rstrip().rpartition("\n")[2]
        raise InputError(f"A Ray worker failed ({fault}): install version {__version__} on all machines.") from error
    except ray.exceptions.RayError as error:
        lost = f"its worker was lost {RETRIES + 1} times ({type(error).__name__})"
        return Outcome(f"{lost}: try with more `cpus_per_run`, so that fewer runs share the memory")
    return outcome
