"""The command line: finds the command, and turns what goes wrong into one sentence.

Only what the command needs is imported: ``--help`` and ``--version`` touch no torch.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from anomalib_flows import __version__
from anomalib_flows.core.allocation import keep_memory
from anomalib_flows.core.errors import NO_PERMISSION, NO_SPACE, InputError

COMMANDS = {
    "train": "train a detector on normal images, and test it",
    "test": "test a trained detector anew",
    "predict": "judge images: scores, heatmaps, masks",
    "latency": "measure how long a model takes on this machine",
    "calibrate": "set thresholds for another rate of false alarms",
    "export": "write a detector as one file, for OpenVINO, ONNX or torch, and compare it",
    "import-checkpoint": "take over a detector that was trained with another code base",
    "data prepare": "unpack a published dataset, for training",
    "data check": "look a whole dataset over: counts, broken files, duplicates",
    "cache": "show how much room cached features and images take, or clear them",
    "list": "list models, datasets or backbones",
}

HELP = ("-h", "--help")

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
    """Run a command line and return its exit code: 0, 2 for a mistake of the user's, 130 for Ctrl-C."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    warnings.showwarning = _show_warning  # type: ignore[assignment]  # it asks for names of arguments
    try:
        return _dispatch(arguments)
    except InputError as error:
        return _fail(str(error))
    except KeyboardInterrupt as interrupt:
        print(f"\n{str(interrupt) or 'Interrupted.'}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except OSError as error:
        if error.errno not in NO_SPACE + NO_PERMISSION:
            raise
        name = f" {error.filename}" if error.filename else ""
        advice = "free space" if error.errno in NO_SPACE else "change its rights"
        return _fail(f"Cannot read or write{name}: {error.strerror}; {advice}, or name another folder.")


def _dispatch(arguments: list[str]) -> int:
    """Show help or version, or run the command named first, by one word or two."""
    if not arguments or arguments[0] in HELP:
        return _usage(list(COMMANDS), asked=bool(arguments))
    if arguments[0] == "--version":
        print(f"anomalib-flows {__version__}")
        return 0
    words = 2 if " ".join(arguments[:2]) in COMMANDS else 1
    name = " ".join(arguments[:words])
    group = [command for command in COMMANDS if command.startswith(f"{name} ")]
    if group and (not arguments[1:] or arguments[1] in HELP):
        return _usage(group, asked=bool(arguments[1:]))
    if name not in COMMANDS:
        from anomalib_flows.core.registry import unknown

        raise InputError(unknown("command", " ".join(arguments[:2]) if group else name, group or list(COMMANDS)))
    from anomalib_flows.cli.parsing import run_command

    keep_memory()
    run_command(name, arguments[words:])
    return 0


def _usage(commands: list[str], *, asked: bool) -> int:
    """Show what there is; not to name a command is a mistake unless help was asked for."""
    print(USAGE.format(commands="\n".join(f"  {name:19}{COMMANDS[name]}" for name in commands)), end="")
    return 0 if asked else 2


def _fail(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 2


def _show_warning(message: Warning | str, category: type[Warning], filename: str, *_: object) -> None:
    """Show our own warnings as a line, and hide what libraries tell each other."""
    if issubclass(category, UserWarning) and str(Path(__file__).parents[1]) in filename:
        print(f"warning: {message}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
