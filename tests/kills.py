"""Commands that are killed at chosen moments: each runs in a fork of a process that has imported everything."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

SERVER = """
import json, os, signal, sys, time
import anomalib_flows.experiment.predict, anomalib_flows.inference.exported, anomalib_flows.inference.runner
import anomalib_flows.models.checkpoint, anomalib_flows.models.fastflow, anomalib_flows.results.report, timm
from anomalib_flows.cli.app import main

STEPS = ("open", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink")

def die_before(step, folder):
    count = 0

    def hook(event, arguments):
        nonlocal count
        paths = [str(one) for one in arguments if isinstance(one, (str, os.PathLike))]
        if event in STEPS and any(path.startswith(folder) for path in paths):
            count += 1
            if count == step:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)

print("ready", flush=True)
for line in sys.stdin:
    seconds, step, folder, arguments = json.loads(line)
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(null, stream)
        if step:
            die_before(step, folder)
        os._exit(main(arguments))
    found, status = 0, 0
    while not found:
        found, status = os.waitpid(child, os.WNOHANG)
        if not found and time.monotonic() - started > seconds:
            os.kill(child, signal.SIGKILL)
            found, status = os.waitpid(child, 0)
        time.sleep(0.001)
    print(json.dumps([os.waitstatus_to_exitcode(status), time.monotonic() - started]), flush=True)
"""
KILLED = -9


class Killer:
    """Run commands of the command line, and kill those that take too long."""

    def __init__(self) -> None:
        command = [sys.executable, "-c", SERVER]
        self.server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.server.stdout
        assert self.server.stdout.readline() == "ready\n"

    def run(
        self, arguments: Sequence[str], seconds: float = 600, step: int = 0, folder: Path = Path()
    ) -> tuple[int, float]:
        """Return the exit code of a command, -9 if it was killed, and how long it took.

        It is killed after some seconds, or before the file operation of a number, counted from 1, below a folder.
        """
        assert self.server.stdin
        assert self.server.stdout
        print(json.dumps([seconds, step, str(folder), list(arguments)]), file=self.server.stdin, flush=True)
        code, took = json.loads(self.server.stdout.readline())
        return code, took

    def __enter__(self) -> Killer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.server.communicate("")
