"""Messages in the words of the command line: options for fields, and the next command to type."""

from __future__ import annotations

import difflib
import logging
import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from anomalib_flows.core.errors import FIELD, InputError, Interrupted, NotCalibratedError

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

    Args:
        message: Message with field names in backticks.
        names: Names of the options of the command, such as ``model.steps``.

    Example:
        >>> with_options("`steps` cannot be 0.", ["seed", "model.steps"])
        '--model.steps cannot be 0.'
    """

    def replacement(name: str) -> str:
        found = [name] if name in names else [known for known in names if known.endswith(f".{name}")]
        return option(found[0]) if len(found) == 1 else name

    return FIELD.sub(lambda match: replacement(match[1]), message)


def require_known(name: str, names: Collection[str]) -> None:
    """Raise an InputError with the present name or the closest ones if a command does not have an option."""
    if name in names:
        return
    if MOVED.get(name) in names:
        raise InputError(f"{option(name)} is now {option(MOVED[name])}.")
    close = difflib.get_close_matches(option(name), map(option, names), n=3)
    raise InputError(f"There is no option {option(name)}" + (f": did you mean {' or '.join(close)}?" if close else "."))


@contextmanager
def spoken(names: Collection[str]) -> Iterator[None]:
    """Put options into the errors and warnings that pass, and append the next command to type.

    Args:
        names: Names of the options of the command; the collection may grow later.
    """
    shown = warnings.showwarning
    warnings.showwarning = _translated(shown, names)
    logging.getLogger("timm").setLevel(logging.ERROR)
    try:
        yield
    except NotCalibratedError as error:
        raise InputError(f"{with_options(str(error), names)} Type: anomalib-flows calibrate {error.path}") from error
    except InputError as error:
        raise InputError(with_options(str(error), names)) from error
    except Interrupted as error:
        raise KeyboardInterrupt(next_commands(error)) from None
    finally:
        warnings.showwarning = shown


def _translated(show: Callable[..., Any], names: Collection[str]) -> Callable[..., None]:
    def show_with_options(message: Warning | str, *arguments: Any) -> None:
        show(with_options(str(message), names), *arguments)

    return show_with_options


def next_commands(interrupted: Interrupted) -> str:
    """Return the commands that go on with a run."""
    run = interrupted.path
    if interrupted.stage == "training":
        return (
            f"Stopped. To go on: anomalib-flows train --resume {run}\n"
            f"To use it as it is after its last whole epoch: anomalib-flows calibrate {run}"
        )
    from anomalib_flows.run.directory import Run

    protocol = Run.open(Path(str(run))).config().protocol
    calibrate = f"  anomalib-flows calibrate {run}\n" if protocol == "calibrated" else ""
    return f"Stopped after training. Go on with\n{calibrate}  anomalib-flows test {run} --protocol {protocol}"
