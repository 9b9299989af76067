"""The table of predictions: rows are bytes of CSV. The runtime's command writes it too, without torch and SciPy."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from io import FileIO, StringIO
from pathlib import Path

import numpy as np

from anomalib_flows.core.files import atomic
from anomalib_flows.core.types import LABELS, NORMAL, ImageResult

COLUMNS = ("path", "label", "score", "p_value", "truth", "defect", "outcome", "raw_score")
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""Beginnings of cells that spreadsheets take for formulas."""


Write = Callable[[bytes], object]
"""What takes the lines of a file, one by one."""


class TableSink:
    """Write decision, scores and ground truth of each image, as a line that ``write`` takes.

    ``place`` gives the cell of a further column.
    """

    def __init__(self, write: Write, *, labelled: bool, place: Callable[[ImageResult], str] | None = None) -> None:
        self.write, self.labelled, self.place = write, labelled, place

    def add(self, result: ImageResult) -> None:
        """Write the row of an image."""
        raw = "" if result.raw_score is None else shortest(result.raw_score)
        scores = (shortest(result.score), shortest(result.p_value))
        row = (written_path(result), LABELS[result.label], *scores, *self._truth(result), raw)
        self.write(csv_line((*row, self.place(result)) if self.place else row))

    def _truth(self, result: ImageResult) -> tuple[str, str, str]:
        """Return true label, kind of defect and outcome; all empty where the truth is unknown."""
        if result.sample is None or not self.labelled:
            return "", "", ""
        wrong = "missed" if result.label == NORMAL else "false alarm"
        return LABELS[result.sample.label], written_word(result.sample.defect), wrong if result.wrong else "correct"


def written_path(result: ImageResult) -> str:
    """Return the path of an image as files of results have it; see :func:`safe_path`."""
    return safe_path(result.sample.path) if result.sample else ""


def safe_path(path: Path) -> str:
    """Return a path that no spreadsheet takes for a formula.

    Example:
        >>> safe_path(Path("=1+1/photo.png")), safe_path(Path("a/-1.png"))
        ('./=1+1/photo.png', 'a/-1.png')
    """
    return f"./{path}" if str(path).startswith(FORMULA) else str(path)


def written_word(word: str) -> str:
    """Return a word as the table has it: an apostrophe before it where a spreadsheet would take it for a formula.

    Example:
        >>> written_word("=1+1"), written_word("'90s"), written_word("crack")
        ("'=1+1", "''90s", 'crack')
    """
    return f"'{word}" if word.startswith((*FORMULA, "'")) else word


@contextmanager
def open_table(file: Path, *, labelled: bool) -> Iterator[TableSink]:
    """Open a table to write row by row, as :func:`growing` says; ``labelled`` if the truth of the images is known.

    Lines end in CR LF, as in RFC 4180: otherwise Python would not quote both characters in a name.
    """
    with growing(file) as write:
        write(csv_line(COLUMNS))
        yield TableSink(write, labelled=labelled)


@contextmanager
def growing(file: Path) -> Iterator[Write]:
    """Open a file to write line by line, under a temporary name until the block ends without an error."""
    with atomic(file) as temporary, temporary.open("wb") as stream:
        yield stream.write


def csv_line(values: Iterable[object]) -> bytes:
    """Return values as a line of CSV."""
    line = StringIO(newline="")
    csv.writer(line).writerow(values)
    # File names need not be valid UTF-8: surrogateescape writes the bytes that the file system gave.
    return line.getvalue().encode(errors="surrogateescape")


def csv_cells(line: bytes) -> list[str]:
    """Return the values of a line of CSV."""
    return next(csv.reader([line.decode(errors="surrogateescape")]))


def read_rows(table: Path) -> Iterator[dict[str, str]]:
    """Read the rows of a table; names of files need not be valid UTF-8."""
    with table.open(newline="", encoding="utf-8", errors="surrogateescape") as lines:
        yield from csv.DictReader(lines)


def write_whole(stream: FileIO, line: bytes) -> None:
    """Append a line, or nothing of it if that fails."""
    end = stream.tell()
    try:
        while line:
            line = line[stream.write(line) :]
    except BaseException:  # a full disk, or Ctrl-C between two parts
        stream.truncate(end)
        raise


def shortest(value: float) -> str:
    """Return the shortest text that gives a number of single precision: 0.4 for 0.4000000059604645."""
    return str(np.float32(value))
