"""Commands that are killed at chosen moments: each runs in a fork of a process that has imported everything."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from types import TracebackType

SERVER = """
import json, os, signal, sys, time
import anomalib_flows.experiment.predict, anomalib_flows.inference.exported, anomalib_flows.inference.runner
import anomalib_flows.models.checkpoint, anomalib_flows.models.fastflow, anomalib_flows.results.report, timm
from anomalib_flows.cli.app import main

print("ready", flush=True)
for line in sys.stdin:
    seconds, arguments = json.loads(line)
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(null, stream)
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

    def run(self, arguments: Sequence[str], seconds: float = 600) -> tuple[int, float]:
        """Return the exit code of a command, -9 if it was killed after some seconds, and how long it took."""
        assert self.server.stdin
        assert self.server.stdout
        print(json.dumps([seconds, list(arguments)]), file=self.server.stdin, flush=True)
        code, took = json.loads(self.server.stdout.readline())
        return code, took

    def __enter__(self) -> Killer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.server.communicate("")
