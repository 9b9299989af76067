"""Run commands in forks of this process, which has imported everything, and kill them."""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

LONGEST = 300.0
"""Seconds after which an undisturbed command is taken for one that hangs."""


class Ended(NamedTuple):
    """How a command ended: exit code, or -9 if it was killed; its duration in seconds; and what it printed."""

    code: int
    seconds: float
    printed: str

    @property
    def killed(self) -> bool:
        """Whether the command was killed before its end."""
        return self.code == -signal.SIGKILL


def run(arguments: Sequence[str], place: Path, kill_after: float = LONGEST) -> Ended:
    """Run a command in a child, with all its folders below ``place``, and kill it after some seconds."""
    log = place.with_name("log.txt")
    begin = time.monotonic()
    child = os.fork()
    if not child:
        _become(arguments, place, log)
    status = _wait(child, begin + kill_after)
    return Ended(os.waitstatus_to_exitcode(status), time.monotonic() - begin, log.read_text(errors="replace"))


def _wait(child: int, until: float) -> int:
    """Wait for a child, kill it if it takes too long, and return its status."""
    while time.monotonic() < until:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return status
        time.sleep(0.0005)
    os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


def _become(arguments: Sequence[str], place: Path, log: Path) -> None:
    """Run a command in this child, and end it."""
    code = 1
    try:
        with log.open("w") as stream:
            for number in (1, 2):
                os.dup2(stream.fileno(), number)
        (place / "tmp").mkdir(exist_ok=True)
        os.environ |= {"TMPDIR": str(place / "tmp"), "XDG_CACHE_HOME": str(place / "cache")}
        tempfile.tempdir = None
        from anomalib_flows.cli import main

        code = main(list(arguments))
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def import_all(arguments: Sequence[str], place: Path) -> None:
    """Import what a command imports, so that no fork has to; the command itself runs in a process of its own."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(reader)
        with suppress(BaseException), (place.with_name("log.txt")).open("w") as stream:
            for number in (1, 2):
                os.dup2(stream.fileno(), number)
            os.environ |= {"XDG_CACHE_HOME": str(place / "cache")}
            from anomalib_flows.cli import main

            main(list(arguments))
        with os.fdopen(writer, "w") as stream:
            json.dump(sorted(sys.modules), stream)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as stream:
        names = json.load(stream)
    os.waitpid(child, 0)
    for name in names:
        if name not in sys.modules and not name.startswith(("__", "torch._inductor", "torch._dynamo")):
            with suppress(BaseException):  # some modules cannot be imported by their name alone
                importlib.import_module(name)
