"""Processes that train together, each on its part of every batch; the first one does everything else alone."""

from __future__ import annotations

import os
import pickle
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from socket import create_server
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch.distributed import TCPStore  # type: ignore[attr-defined]  # public, as its documentation says

from anomalib_flows.core.errors import InputError, first_line
from anomalib_flows.core.processes import end_with_parent, processes
from anomalib_flows.core.timing import cores

T = TypeVar("T")
Task = Callable[[], Any]
"""What each process does, with all its arguments; it can be pickled."""

IMPORTED = ["torch", "timm", "lightning", "anomalib_flows.training.fit"]
"""Modules that all processes share, since importing them takes seconds."""
HOST = "127.0.0.1"
Failure = tuple[bool, str]
"""Whether it may be the consequence of another failure, such as a lost connection; and a sentence."""
ENDED: Failure = False, "A process of the training has ended before the others: try fewer `trainer.devices`."
PATIENCE = timedelta(days=30)
"""How long processes wait for each other: the first one may encode and test for hours."""


def backends() -> str:
    """Return the libraries that exchange tensors."""
    return "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"


def world_size() -> int:
    """Return the number of processes that train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Return the number of this process among them; the first is 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def require_devices(devices: int) -> None:
    """Raise an InputError if torchrun has started another number of processes on this machine."""
    here = int(os.environ["LOCAL_WORLD_SIZE"]) if dist.is_initialized() else devices
    if devices not in (1, here):
        raise InputError(f"`trainer.devices` is {devices}, but torchrun has started {here}: leave it out.")


def as_member(lead: Callable[[], T]) -> T | None:
    """Run a command in the first process of torchrun; in the others do what it asks for until it has ended."""
    dist.init_process_group(backends(), timeout=PATIENCE)
    if rank() == 0:
        try:
            result: T | None = lead()  # if this fails, torchrun ends the others
        except SystemExit as end:
            if end.code:
                raise
            result = None  # of --help
        dist.broadcast_object_list([None], device=torch.device("cpu"))
        dist.destroy_process_group()
        return result
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process ends the training
    try:
        while task := received():
            quietly(task)
    except RuntimeError as error:
        if not is_lost(error):  # else the first process has ended, and has said why
            raise
    dist.destroy_process_group()  # its threads would end this process by SIGABRT
    return None


def is_lost(error: RuntimeError) -> bool:
    """Return whether the connection to another process was lost."""
    return "onnection" in str(error)


def received() -> Task | None:
    """Wait for the next task of the first process; None at the end."""
    message: list[Task | None] = [None]
    dist.broadcast_object_list(message, device=torch.device("cpu"))
    return message[0]


def quietly(task: Task) -> None:
    """Do a task without warnings, which the first process shows."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        task()


@contextmanager
def team(task: Task, devices: int) -> Iterator[None]:
    """Let other processes do a task while the block does it as well.

    Args:
        task: The task.
        devices: Number of processes, unless torchrun has started them already.

    Raises:
        InputError: If another process fails.
    """
    if dist.is_initialized():
        dist.broadcast_object_list([task], device=torch.device("cpu"))
        try:
            yield
        except RuntimeError as error:
            if not is_lost(error):
                raise
            raise InputError("A process of the training has ended before the others: see its own message.") from error
    elif devices == 1:
        yield
    else:
        with started(task, devices):
            yield


@contextmanager
def started(task: Task, count: int) -> Iterator[None]:
    """Start all processes but this one; they end with the block."""
    store, context, pipes, members = store_here(), processes(IMPORTED), [], []
    copied = pickle.dumps(task)  # multiprocessing would share the memory of its tensors
    try:
        for number in range(1, count):
            receiver, sender = context.Pipe(duplex=False)
            member = context.Process(target=work, args=(sender, copied, number, count, store.port))
            member.start()
            members.append(member)
            sender.close()
            pipes.append(receiver)
        require_begun(pipes)
        with joined(store, 0, count), explained(pipes):
            yield
    finally:
        for member in members:
            member.join(5 if sys.exc_info()[0] is None else 0)
            member.kill()


def store_here() -> TCPStore:
    """Make the store by which processes find each other; it would listen to the whole network by itself."""
    listening = create_server((HOST, 0))
    port = listening.getsockname()[1]
    number = listening.detach()  # the store closes it
    return TCPStore(HOST, port, is_master=True, wait_for_workers=False, timeout=PATIENCE, master_listen_fd=number)


def require_begun(pipes: list[Connection]) -> None:
    """Wait until all other processes have begun: joining one that cannot would take for ever."""
    for pipe in pipes:
        if failure := report_of(pipe):
            raise InputError(failure[1])


@contextmanager
def explained(pipes: list[Connection]) -> Iterator[None]:
    """Raise an InputError that says why another process has failed, if that is why this one cannot go on."""
    try:
        yield
    except (InputError, KeyboardInterrupt):
        raise
    except Exception as error:
        failures = filter(None, [report_of(pipe) for pipe in wait(pipes, 2)])  # type: ignore[arg-type]
        if failure := min(failures, default=None):
            raise InputError(failure[1]) from error
        raise


def report_of(pipe: Connection) -> Failure | None:
    """Wait for what another process reports; None if all is well."""
    try:
        report: Failure | None = pipe.recv()
    except (EOFError, OSError):
        return ENDED
    return report


def work(sender: Connection, task: bytes, number: int, count: int, port: int) -> None:
    """Do a task as one of several processes; report that it has begun, and that it has ended or why it failed."""
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the first process, which ends the training
    sender.send(None)
    with joined(TCPStore(HOST, port, is_master=False, timeout=PATIENCE), number, count):
        try:
            quietly(pickle.loads(task))  # noqa: S301 (from the process that has started this one)
        except InputError as error:
            sender.send((False, str(error)))
            return
        except Exception as error:
            sender.send((True, f"{type(error).__name__}: {first_line(error)}"))
            return
    sender.send(None)


@contextmanager
def joined(store: TCPStore, number: int, count: int) -> Iterator[None]:
    """Be one of several processes of this machine, which share its cores."""
    threads, before = torch.get_num_threads(), dict(os.environ)
    place = {"RANK": number, "LOCAL_RANK": number, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "GROUP_RANK": 0}
    names = {name: str(value) for name, value in place.items()}
    names |= {"GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {}  # nothing leaves this machine
    os.environ.update(names)
    torch.set_num_threads(max(1, min(threads, cores() // count)))
    try:
        dist.init_process_group(backends(), store=store, rank=number, world_size=count, timeout=PATIENCE)
        yield
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
        torch.set_num_threads(threads)
        for name in names:  # others may have been set meanwhile
            del os.environ[name]
        os.environ.update({name: before[name] for name in names if name in before})
