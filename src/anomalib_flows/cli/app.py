"""The command line: find the command, run it, and report errors in one sentence.

Only what the command needs is imported: ``--help`` and ``--version`` need neither torch nor numpy.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import re
import sys
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from anomalib_flows import __version__, commands
from anomalib_flows.commands.command import Command
from anomalib_flows.core.allocation import keep_memory
from anomalib_flows.core.errors import NO_PERMISSION, NO_SPACE, InputError

HELP = ("-h", "--help")
CONTROL = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Characters that move the cursor, change colours, or reverse the direction of text."""

USAGE = """usage: anomalib-flows COMMAND [options]

Visual anomaly detection with normalizing flows.

commands:
{commands}

options:
  -h, --help    show this help; 'anomalib-flows COMMAND --help' shows the options of a command
  --version     show the version

example:
  anomalib-flows train --model fastflow --data folder --data.normal photos/good
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code: 0, 2 for an error of the user, 130 for Ctrl-C."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    show_every_character()
    warnings.showwarning = _show_warning  # type: ignore[assignment]  # its parameters have other names
    try:
        with contextlib.redirect_stdout(Visible(sys.stdout)):
            return _dispatch(arguments)
    except InputError as error:
        return _fail(str(error))
    except KeyboardInterrupt as interrupt:
        print(f"\n{str(interrupt) or 'Interrupted.'}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except (Exception, SystemExit) as error:  # a plug-in that ends the program must not look like success
        if not (sentence := _explained(error)):
            raise
        return _fail(sentence)


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


def _explained(error: BaseException) -> str | None:
    """Return what the user can do about an error of the system or of a plug-in; None for any other one."""
    if isinstance(error, OSError) and error.errno in NO_SPACE + NO_PERMISSION:
        name = f" {error.filename}" if error.filename else ""
        advice = "free space" if error.errno in NO_SPACE else "change its rights"
        return f"Cannot read or write{name}: {error.strerror}; {advice}, or name another folder."
    from anomalib_flows.core.registry import blame

    if sentence := blame(error):  # of a plug-in that lacks a module of its own, too
        return sentence
    if isinstance(error, ModuleNotFoundError) and error.name and not error.name.startswith("anomalib_flows"):
        return (
            f"This command needs the module {error.name}, which is not installed: pip install anomalib-flows brings "
            "all that commands need; in Python, anomalib_flows.runtime predicts without."
        )
    return None


def show_every_character() -> None:
    """Let both streams escape what their encoding lacks, such as letters of file names, instead of raising an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a program may have replaced them
            stream.reconfigure(errors="backslashreplace")


def find_commands() -> dict[str, Command]:
    """Return the commands by name: the ``COMMAND`` of each module in the package ``commands``, in their order."""
    # pkgutil would import inspect, which takes as long as all commands.
    names = [file.stem for folder in commands.__path__ for file in Path(folder).glob("[!_]*.py")]
    modules = [importlib.import_module(f"{commands.__name__}.{name}") for name in names]
    found = [module.COMMAND for module in modules if hasattr(module, "COMMAND")]
    return {command.name: command for command in sorted(found, key=lambda command: command.order)}


def _dispatch(arguments: list[str]) -> int:
    """Show help or version, or run the command, whose name is the first word or the first two."""
    if arguments[:1] == ["--version"]:
        print(f"anomalib-flows {__version__}")
        return 0
    known = find_commands()
    if not arguments or arguments[0] in HELP:
        return _usage(known.values(), asked=bool(arguments))
    words = 2 if " ".join(arguments[:2]) in known else 1
    name = " ".join(arguments[:words])
    group = {other: command for other, command in known.items() if other.startswith(f"{name} ")}
    if group and (not arguments[1:] or arguments[1] in HELP):
        return _usage(group.values(), asked=bool(arguments[1:]))
    if name not in known:
        from anomalib_flows.core.registry import unknown

        raise InputError(unknown("command", " ".join(arguments[:2]) if group else name, list(group or known)))
    from anomalib_flows.cli.run import run_command

    keep_memory()
    run_command(known[name], arguments[words:])
    return 0


def _usage(shown: Iterable[Command], *, asked: bool) -> int:
    """Show commands; unless help was asked for, a missing command is an error."""
    print(USAGE.format(commands="\n".join(f"  {command.name:19}{command.help}" for command in shown)), end="")
    return 0 if asked else 2


def _fail(message: str) -> int:
    one_line = message.replace("\n", "\\n")  # a name with a line break must not look like a second error
    print(f"error: {visible(one_line)}", file=sys.stderr)
    return 2


def _show_warning(message: Warning | str, category: type[Warning], filename: str, *_: object) -> None:
    """Show the package's own warnings as a line, and hide those that libraries address to their developers."""
    if issubclass(category, UserWarning) and str(Path(__file__).parents[1]) in filename:
        print(f"warning: {visible(str(message))}", file=sys.stderr)
