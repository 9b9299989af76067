"""Messages in the words of the command line: options for fields, and the next command to type."""

from __future__ import annotations

import logging
import re
import sys
import warnings
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from anomalib_flows.core.errors import FIELD, InputError, Interrupted, NextCommandError
from anomalib_flows.core.shell import typed

PACKAGE = logging.getLogger("anomalib_flows")
UNDERSCORES = re.compile(r"(?<![\w/.-])--[a-z]+(_[a-z]+)+(?![\w./])")
"""Options without a dot, as jsonargparse knows them."""
MOVED = {
    "data.image_size": "image.size",
    "data.resize": "image.resize",
    "data.batch_size": "loader.batch_size",
    "data.workers": "loader.workers",
    "data.cache": "loader.cache",
    "data.cache_size": "loader.cache_size",
    "data.on_error": "loader.on_error",
    "data.calibration_fraction": "split.calibration_fraction",
    "data.validation_fraction": "split.validation_fraction",
    "model.fibre_batch": "model.vectors_per_step",
    "model.max_fibres": "model.max_vectors",
}
"""Present names of options that had another one."""


def option(name: str) -> str:
    """Return the option of a field: ``--false-alarm-rate``, ``--trainer.max_epochs``."""
    return "--" + (name if "." in name else name.replace("_", "-"))


def with_options(message: str, names: Collection[str]) -> str:
    """Replace the fields in a message by options.

    Example:
        >>> with_options("`steps` cannot be 0.", ["seed", "model.steps"])
        '--model.steps cannot be 0.'
    """

    def replacement(name: str) -> str:
        found = [name] if name in names else [known for known in names if known.endswith(f".{name}")]
        component, _, argument = name.partition(".")
        found = found or [name] * bool(argument and component in names)  # an argument of one that is not chosen
        return option(found[0]) if len(found) == 1 else name

    return hyphenated(FIELD.sub(lambda match: replacement(match[1]), message))


def hyphenated(text: str) -> str:
    """Write the options in a text as they are documented; both kinds of hyphen are taken.

    Example:
        >>> hyphenated("--false_alarm_rate and --trainer.max_epochs of my--old_run")
        '--false-alarm-rate and --trainer.max_epochs of my--old_run'
    """
    return UNDERSCORES.sub(lambda found: found[0].replace("_", "-"), text)


def require_present_names(config: Mapping[str, Any]) -> None:
    """Raise an InputError if a configuration has a field that has moved."""
    for key in ("model", "data"):
        value = config.get(key)
        arguments = value.get("init_args") if isinstance(value, dict) else None
        for name in arguments or {}:
            if moved := MOVED.get(f"{key}.{name}"):
                raise InputError(f"The field {key}.{name} of the configuration is now {moved}: move it there.")


@contextmanager
def spoken(names: Collection[str]) -> Iterator[None]:
    """Put options into the errors and warnings that pass, and append the next command to type."""
    shown, printer = warnings.showwarning, Printer(names)

    def show(text: Warning | str, *rest: Any) -> None:
        from tqdm import tqdm

        with tqdm.external_write_mode(file=sys.stderr):  # above a progress bar if there is one
            shown(with_options(str(text), names), *rest)

    warnings.showwarning = show  # type: ignore[assignment]  # its parameters have other names
    logging.getLogger("timm").setLevel(logging.ERROR)
    PACKAGE.addHandler(printer)
    PACKAGE.setLevel(logging.INFO)
    try:
        yield
    except NextCommandError as error:
        said = with_options(str(error), names)
        raise InputError(f"{said} Type: {typed(error.command, Path(str(error.path)))}") from error
    except InputError as error:
        raise InputError(with_options(str(error), names)) from error
    except Interrupted as error:
        raise KeyboardInterrupt(next_commands(error)) from None
    finally:
        warnings.showwarning = shown
        PACKAGE.removeHandler(printer)


class Printer(logging.Handler):
    """Print the messages of the package, above a progress bar if there is one."""

    def __init__(self, names: Collection[str]) -> None:
        super().__init__()
        self.names = names

    def emit(self, record: logging.LogRecord) -> None:
        """Print a message with options for fields."""
        from tqdm import tqdm

        tqdm.write(with_options(record.getMessage(), self.names))


def next_commands(interrupted: Interrupted) -> str:
    """Return the commands that continue a run."""
    run = Path(str(interrupted.path))
    if interrupted.stage == "benchmark":
        return "Stopped. To continue, type the same command again."
    resume = f"Stopped. To continue: {typed('train', '--resume', run)}"
    if interrupted.stage == "training all categories":
        return resume
    if interrupted.stage == "training":
        return f"{resume}\nTo use it as it is after the last epoch that was kept: {typed('calibrate', run)}"
    from anomalib_flows.run.directory import Run

    protocol = Run.open(run).config().protocol
    calibrate = f"  {typed('calibrate', run)}\n" if protocol == "calibrated" else ""
    return f"Stopped after training. Go on with\n{calibrate}  {typed('test', run, '--protocol', protocol)}"
