"""Standard streams that do not end a command: they may be closed, on a full disk, or without a reader."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from errno import EPIPE
from pathlib import Path
from typing import Any


def open_closed_streams() -> None:
    """Open the standard streams that the caller closed; the next files would take their numbers, and be written to."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115 (open as long as the process lives)


class Steady:
    """A stream that goes nowhere after its first error."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.error: OSError | None = None

    def write(self, text: str) -> int:
        """Write text."""
        with self._kept_up():
            self.stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Write what is kept in memory."""
        with self._kept_up():
            self.stream.flush()

    @contextmanager
    def _kept_up(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.error = self.error or error
            # What is still in memory would fail again, at the end of the process at the latest.
            with suppress(io.UnsupportedOperation), Path(os.devnull).open("w") as nowhere:
                os.dup2(nowhere.fileno(), self.stream.fileno())

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def steady_streams() -> Iterator[Steady]:
    """Let both streams be steady for the block, and yield the one of output."""
    output, errors = Steady(sys.stdout), Steady(sys.stderr)
    with redirect_stdout(output), redirect_stderr(errors):
        try:
            yield output
        finally:
            output.flush()
            errors.flush()


def lost(output: Steady) -> OSError | None:
    """Return why output was lost; a reader that needed no more of it has lost nothing."""
    output.flush()
    return None if output.error is None or output.error.errno == EPIPE else output.error
