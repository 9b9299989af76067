"""Write a table of predictions in Parquet, a format by columns that data tools read without parsing."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.files import atomic
from anomalib_flows.results.table import read_rows

NUMBERS = ("score", "p_value", "raw_score")
WORDS = ("label", "truth", "outcome")
"""Columns of few different values."""
GROUP = 2**16
"""Rows that are converted at once."""


def pyarrow() -> Any:
    """Import pyarrow, an optional extra."""
    try:
        import pyarrow as found
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise InputError("Parquet needs the module pyarrow: run pip install pyarrow.") from error
    return found


def write_parquet(table: Path, file: Path) -> None:
    r"""Convert a table of predictions to Parquet; empty cells are null.

    Numbers are float32. Text in Parquet is UTF-8: bytes of file names that are not are written as ``\xff``.
    """
    arrow, rows = pyarrow(), read_rows(table)
    first = list(islice(rows, 1))
    kinds = dict.fromkeys(NUMBERS, arrow.float32()) | dict.fromkeys(
        WORDS, arrow.dictionary(arrow.int8(), arrow.string())
    )
    schema = arrow.schema([(name, kinds.get(name, arrow.string())) for name in first[0]])
    with atomic(file) as temporary, arrow.parquet.ParquetWriter(temporary, schema) as writer:
        for group in grouped(first, rows):
            columns = {name: [cell(name, row[name]) for row in group] for name in schema.names}
            writer.write_table(arrow.table(columns, schema))


def grouped(first: list[dict[str, str]], rows: Iterator[dict[str, str]]) -> Iterator[list[dict[str, str]]]:
    """Yield rows in groups, those that were read first at the beginning."""
    while group := first + list(islice(rows, GROUP)):
        yield group
        first = []


def cell(name: str, text: str) -> float | str | None:
    """Convert a cell of the table."""
    if not text:
        return None
    return float(text) if name in NUMBERS else text.encode(errors="surrogateescape").decode(errors="backslashreplace")
