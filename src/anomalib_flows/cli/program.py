"""A function as a program: streams, warnings, errors in one sentence, and the exit code."""

from __future__ import annotations

import contextlib
import io
import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from anomalib_flows.cli.streams import lost, open_closed_streams, steady_streams
from anomalib_flows.core.errors import ADVICE, InputError

CONTROL = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Characters that move the cursor, change colours, or reverse the direction of text."""


def as_program(run: Callable[[], int]) -> int:
    """Run a function as a program: errors of the user are one sentence each, and codes as :func:`main` returns them."""
    open_closed_streams()
    show_every_character()
    warnings.showwarning = _show_warning  # type: ignore[assignment]  # its parameters have other names
    with steady_streams() as output:
        try:
            code = _code(run)
        except SystemExit as end:  # of --help and --print_config
            if end.code or not lost(output):
                raise
            code = 0
        if not code and (error := lost(output)):
            return fail(f"What this command prints was lost ({error.strerror}): let it print elsewhere.")
        return code


def _code(run: Callable[[], int]) -> int:
    try:
        with contextlib.redirect_stdout(Visible(sys.stdout)):
            return run()
    except InputError as error:
        return fail(str(error))
    except KeyboardInterrupt as interrupt:
        print(f"\n{str(interrupt) or 'Interrupted.'}", file=sys.stderr)
        return 130
    except (Exception, SystemExit) as error:  # a plug-in that ends the program must not look like success
        if not (sentence := explained(error)):
            raise
        return fail(sentence)


def explained(error: BaseException) -> str | None:
    """Return what the user can do about an error of the system or of a plug-in; None for any other one."""
    if isinstance(error, OSError) and error.errno in ADVICE:
        name = f" {error.filename}" if error.filename else ""
        return f"Cannot read or write{name}: {error.strerror}; {ADVICE[error.errno]}, or name another folder."
    from anomalib_flows.core.registry import blame

    if sentence := blame(error):  # of a plug-in that lacks a module of its own, too
        return sentence
    if isinstance(error, ModuleNotFoundError) and error.name and not error.name.startswith("anomalib_flows"):
        return (
            f"This command needs the module {error.name}, which is not installed: install anomalib-flows with its "
            "dependencies; anomalib-flows-runtime predicts without them."
        )
    return None


def fail(message: str) -> int:
    """Print an error, and return its exit code."""
    print(f"error: {visible(message)}", file=sys.stderr)
    return 2


def _show_warning(message: Warning | str, category: type[Warning], filename: str, *_: object) -> None:
    """Show the package's own warnings as a line, and hide those that libraries address to their developers."""
    if issubclass(category, UserWarning) and str(Path(__file__).parents[1]) in filename:
        print(f"warning: {visible(str(message))}", file=sys.stderr)


def visible(text: str) -> str:
    r"""Escape control characters, which names of files may have, so that none of them reaches the terminal.

    Example:
        >>> print(visible("\x1b[31mred"))
        \x1b[31mred
    """
    return CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)


class Visible:
    """A stream that escapes the control characters of what is written to it."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        """Write text."""
        return int(self.stream.write(visible(text)) or 0)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def show_every_character() -> None:
    """Let both streams escape what their encoding lacks, such as letters of file names, instead of raising an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a program may have replaced them
            stream.reconfigure(errors="backslashreplace")
