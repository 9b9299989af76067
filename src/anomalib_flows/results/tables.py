"""The table of predictions, ``predictions.csv``."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import FileIO, StringIO
from pathlib import Path

import numpy as np

from anomalib_flows.core.files import atomic
from anomalib_flows.core.types import LABELS, ImageResult

COLUMNS = ("path", "score", "p_value", "label")


class TableSink:
    """Write path, score, p-value and label of each image to a table from :func:`open_table`."""

    def __init__(self, stream: FileIO) -> None:
        self.stream = stream

    def add(self, result: ImageResult) -> None:
        """Write the row of an image."""
        path = result.sample.path if result.sample else ""
        score = result.score if result.raw_score is None else result.raw_score
        write_whole(self.stream, csv_line((path, shortest(score), shortest(result.p_value), LABELS[result.label])))


@contextmanager
def open_table(file: Path, *, keep: bool = False) -> Iterator[TableSink]:
    """Open a table to write row by row, under a temporary name until the block ends.

    A row is written at once and whole: if the disk is full, the rows before it remain. With ``keep`` they remain
    after any error. Lines end in CR LF, as in RFC 4180: otherwise Python would not quote both characters in a name.
    """
    stopped: BaseException | None = None
    with atomic(file) as temporary, temporary.open("wb", buffering=0) as stream:
        write_whole(stream, csv_line(COLUMNS))
        try:
            yield TableSink(stream)
        except BaseException as error:
            if not keep:
                raise
            stopped = error
    if stopped:
        raise stopped


def csv_line(values: Iterable[object]) -> bytes:
    """Return values as a line of CSV."""
    line = StringIO(newline="")
    csv.writer(line).writerow(values)
    # File names need not be valid UTF-8: surrogateescape writes the bytes that the file system gave.
    return line.getvalue().encode(errors="surrogateescape")


def write_whole(stream: FileIO, line: bytes) -> None:
    """Append a line, or nothing of it if that fails."""
    end = stream.tell()
    try:
        while line:
            line = line[stream.write(line) :]
    except OSError:
        stream.truncate(end)
        raise


def shortest(value: float) -> str:
    """Return the shortest text that gives a number of single precision: 0.4 for 0.4000000059604645."""
    return str(np.float32(value))
