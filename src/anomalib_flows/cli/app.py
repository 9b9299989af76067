"""The command line: find the command, run it, and report errors in one sentence.

Only what the command needs is imported: ``--help`` and ``--version`` need neither torch nor numpy.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

from anomalib_flows import __version__, commands
from anomalib_flows.cli.program import as_program
from anomalib_flows.commands.command import Command
from anomalib_flows.core.allocation import keep_memory
from anomalib_flows.core.errors import InputError

HELP = ("-h", "--help")
TORCHRUN = {"TORCHELASTIC_RUN_ID", "RANK", "WORLD_SIZE"}
"""Variables of the environment that torchrun sets."""

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
    if argv is None:
        atexit.register(gc.freeze)  # exit skips a garbage collection, which takes a second
    command = partial(_dispatch, list(sys.argv[1:] if argv is None else argv))
    return as_program(partial(_as_member, command) if os.environ.keys() >= TORCHRUN else command)


def _as_member(command: Callable[[], int]) -> int:
    """Run a command in the first of the processes that torchrun has started; the others help it to train."""
    from anomalib_flows.training.team import as_member

    return as_member(command) or 0


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
    if group and name not in known and (not arguments[1:] or arguments[1] in HELP):
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
