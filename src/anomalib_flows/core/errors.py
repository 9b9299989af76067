"""The errors that a user can correct, and the checks that raise them."""

from __future__ import annotations

import errno
import re
from collections.abc import Sequence
from typing import Literal

NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NO_PERMISSION = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR)
ADVICE = {
    **dict.fromkeys(NO_SPACE, "free space"),
    **dict.fromkeys(NO_PERMISSION, "change its rights"),
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ELOOP: "mend its links",
    errno.EISDIR: "move that folder away",
    errno.EIO: "check the disk",
}
"""What to do about system errors that the user can correct. Any other one is a bug."""

FIELD = re.compile(r"`([A-Za-z_][\w.]*)`")


class InputError(ValueError):
    """Input cannot be used.

    The message is one sentence: what was given, what is wrong with it, and what to do. Names of arguments and of fields
    of a record stand in backticks, as in ```trainer.max_epochs` cannot be 0``. The command line replaces them by its
    options, prints the message without a traceback and exits with code 2.

    Example:
        >>> InputError("`steps` cannot be 0: it must be at least 1.").fields
        ('steps',)
    """

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the arguments and fields that the message mentions."""
        return tuple(FIELD.findall(str(self)))


class SeveralFaultsError(InputError):
    """Several faults; the message is that of the first one, and their number."""

    def __init__(self, errors: Sequence[InputError]) -> None:
        super().__init__(f"{errors[0]} There are {len(errors)} such faults: 'anomalib-flows data check' lists them.")
        self.errors = errors


def raise_all(errors: Sequence[InputError]) -> None:
    """Raise an error if there are any; of several, one that has them all."""
    if errors:
        raise errors[0] if len(errors) == 1 else SeveralFaultsError(errors)


class FieldError(InputError):
    """The value of one argument or field is invalid; ``expected`` says what is valid, to follow "it must be"."""

    def __init__(self, field: str, value: object, expected: str) -> None:
        super().__init__(f"`{field}` cannot be {value}: it must be {expected}.")
        self.field, self.value, self.expected = field, value, expected


class NextCommandError(InputError):
    """Another ``command`` is needed first, on the run ``path``."""

    command = ""

    def __init__(self, message: str, path: object) -> None:
        super().__init__(message)
        self.path = path


class NotCalibratedError(NextCommandError):
    """The model of the run ``path`` has no thresholds yet."""

    command = "calibrate"

    def __init__(self, path: object) -> None:
        super().__init__(f"The model of {path} has no thresholds yet: calibrate it first.", path)


class NotTestedError(NextCommandError):
    """The run ``path`` has no results to report."""

    command = "test"

    def __init__(self, path: object) -> None:
        super().__init__(f"{path} has no results to report: test it first.", path)


class NotExportedError(NextCommandError):
    """A video is to be predicted with the run ``path``."""

    command = "export"

    def __init__(self, video: object, path: object) -> None:
        message = f"`input` {video} is a video, which needs an exported model: export the run, and name the model.xml."
        super().__init__(message, path)


Stage = Literal["training", "testing", "training all categories", "benchmark"]


class Interrupted(KeyboardInterrupt):
    """Ctrl-C stopped a run that can go on: ``stage`` of the run directory ``path``."""

    def __init__(self, path: object, stage: Stage) -> None:
        super().__init__(f"{stage.capitalize()} of {path} was stopped.")
        self.path, self.stage = path, stage


def require(condition: bool, field: str, value: object, expected: str) -> None:
    """Raise a FieldError unless a condition holds.

    Args:
        condition: Whether the value is valid.
        field: Name of the argument, or dotted name of the field of a record.
        value: The value that was given.
        expected: What is valid, to follow "it must be".
    """
    if not condition:
        raise FieldError(field, value, expected)


def first_line(error: Exception) -> str:
    """Return the first line of an error message; libraries put details for their developers below it."""
    return next(iter(str(error).splitlines()), type(error).__name__)
