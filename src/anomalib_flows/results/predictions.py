"""Read the table of predictions."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from anomalib_flows.core.errors import InputError

FALSE_ALARM, MISSED = "false alarm", "missed"
"""Outcomes of wrong decisions."""


@dataclass(frozen=True)
class PredictedImage:
    """A row of the table.

    Args:
        path: Image file.
        label: ``normal`` or ``anomalous``.
        score: Normalised score; 0.5 is the image threshold.
        truth: True label; empty if it is unknown.
        defect: Kind of defect; empty if it is unknown.
        outcome: ``correct``, ``false alarm`` or ``missed``; empty if the truth is unknown.
    """

    path: str
    label: str
    score: float
    truth: str
    defect: str
    outcome: str


def read_predictions(file: Path) -> list[PredictedImage]:
    """Read ``predictions.csv``, in the order of prediction.

    Raises:
        InputError: If the file is missing or damaged, or an earlier version wrote it.
    """
    try:
        # File names need not be valid UTF-8.
        with file.open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
            return [predicted(row) for row in csv.DictReader(stream, strict=True)]
    except FileNotFoundError:
        raise InputError(f"There is no {file}: test the run, or predict, first.") from None
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise InputError(f"{file} is damaged or of an earlier version: test the run, or predict, again.") from error


def predicted(row: dict[str, str]) -> PredictedImage:
    """Return a row; raise a KeyError, TypeError or ValueError if it is damaged."""
    names = ("path", "label", "truth", "defect", "outcome")
    if None in row.values():
        raise ValueError("a row is too short")
    return PredictedImage(score=float(row["score"]), **{name: row[name] for name in names})
