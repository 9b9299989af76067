"""A prediction in progress: what its folder holds from the start, so that it continues after any interruption."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.files import TEMPORARY, atomic, remove_leftovers
from anomalib_flows.core.locks import locked
from anomalib_flows.core.parsing import parse_json, read_text
from anomalib_flows.core.types import ANOMALOUS, LABELS, PictureKind
from anomalib_flows.results.apart import FOLDER
from anomalib_flows.results.journal import DRAWN, RECORD, ROWS, THUMBNAILS, Journal, table_form
from anomalib_flows.results.table import csv_cells, csv_line
from anomalib_flows.results.thumbnails import has_thumbnail

TABLES = ("predictions.csv", "predictions.parquet", "prediction.json", "thumbnails.jsonl", "report.html")
PARTS = (*TABLES, FOLDER, *get_args(PictureKind))
"""What a folder of predictions holds."""
Record = dict[str, Any]
OTHERS = {
    "model": "another model",
    "images": "other images",
    "thumbnails": "another command",
    "version": "another version of anomalib-flows",
}
"""Words for entries of a record that say nothing to users."""


@dataclass
class Progress:
    """Rows and thumbnails of the images whose pictures are written, in a folder that is locked.

    Args:
        folder: The folder of predictions.
        columns: Columns of the table.
        record: What the prediction was begun with; ``thumbnails`` says whether it has some.
        rows: Rows of the table.
        thumbnails: Their thumbnails.
        last: Path in the last row; empty without rows.
    """

    folder: Path
    columns: tuple[str, ...]
    record: Record
    rows: Journal
    thumbnails: Journal
    last: str = ""

    @property
    def kept(self) -> str:
        """Say how to continue after an interruption."""
        count, place = self.rows.count, self.folder
        return f"Rows and pictures of {count} images are kept in {place}: to go on, repeat the command with `resume`."

    def find(self) -> None:
        """Find the images that are done, and remove what is damaged and what comes after it.

        An image is done if its row is whole, and its thumbnail, if it has one.
        """
        drawn, done, row_end, drawn_end = self.thumbnails.lines(), Counter[str](), 0, 0
        for line, end in self.rows.lines():
            path, label, *_ = csv_cells(line)
            if self.record["thumbnails"] and has_thumbnail(done["thumbnails"], label == LABELS[ANOMALOUS]):
                thumbnail, thumbnail_end = next(drawn, (b"{}", 0))
                if json.loads(thumbnail).get("path") != path:
                    break
                done["thumbnails"], drawn_end = done["thumbnails"] + 1, thumbnail_end
            done["rows"], row_end, self.last = done["rows"] + 1, end, path
        self.rows.keep(done["rows"], row_end)
        self.thumbnails.keep(done["thumbnails"], drawn_end)

    def finish(self) -> None:
        """Write thumbnails and table as complete files; the table comes last."""
        if self.record["thumbnails"]:
            self.thumbnails.finish(self.folder / "thumbnails.jsonl", b"")
        self.rows.finish(self.folder / "predictions.csv", csv_line(self.columns))

    def remove(self) -> None:
        """Remove what a complete folder does not need."""
        for journal in (self.rows, self.thumbnails):
            journal.stream.close()
        for name in (ROWS, DRAWN, RECORD):
            (self.folder / name).unlink(missing_ok=True)


@contextmanager
def begun(output: Path, record: Record, columns: tuple[str, ...], *, resume: bool) -> Iterator[Progress]:
    """Lock a folder of predictions, and begin there, or continue with what it holds.

    Args:
        output: The folder.
        record: What makes the prediction another one, in plain types.
        columns: Columns of the table.
        resume: Whether the folder holds an unfinished prediction.

    Raises:
        InputError: If another process predicts into the folder, or what it holds was begun with another record.
    """
    output.mkdir(parents=True, exist_ok=True)
    with locked(output) as alone:
        if alone is False:
            raise InputError(f"Another prediction is writing to `output` {output}: wait, or name another folder.")
        if unfinished(output) != resume or not (resume or is_free(output)):
            raise InputError(f"Another prediction was written to `output` {output} meanwhile: name another folder.")
        if resume:
            record = require_same(output, record)
            for folder in {left.parent for left in output.rglob(f"{TEMPORARY}*")}:
                remove_leftovers(folder)
        else:
            with atomic(output / RECORD) as temporary:
                temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        with (
            Journal.open(output / ROWS, table_form(columns)) as rows,
            Journal.open(output / DRAWN, THUMBNAILS) as thumbnails,
        ):
            progress = Progress(output, columns, record, rows, thumbnails)
            progress.find()
            yield progress


def require_usable(output: Path, *, resume: bool) -> bool:
    """Return whether a folder holds an unfinished prediction to continue.

    Raises:
        InputError: If it is a file, or holds predictions that must be kept.
    """
    above = next(folder for folder in (output, *output.absolute().parents) if folder.exists())
    if not above.is_dir():
        raise InputError(f"`output` {output} cannot be a folder, as {above} is a file: name another one.")
    if unfinished(output):
        if not resume:
            raise InputError(
                f"`output` {output} holds an unfinished prediction: continue it with `resume`, or name another folder."
            )
        return True
    if not is_free(output):
        complete = " that are complete" if resume and all_predicted(output) else ""
        raise InputError(f"`output` {output} already holds predictions{complete}: name another folder.")
    return False


def all_predicted(output: Path) -> bool:
    """Return whether the table of an unfinished prediction is complete."""
    return (output / "predictions.csv").is_file()


def unfinished(output: Path) -> bool:
    """Return whether a folder holds a prediction that is not complete."""
    return (output / RECORD).is_file()


def is_free(output: Path) -> bool:
    """Return whether a folder holds no predictions."""
    rows = output / ROWS
    return not any((output / name).exists() for name in PARTS) and not (rows.is_file() and rows.stat().st_size)


def require_same(output: Path, record: Record) -> Record:
    """Return the record that a prediction was begun with; raise an InputError unless it is the same."""
    file = output / RECORD
    try:
        before = parse_json(read_text(file, "The record"))
    except ValueError:
        before = None
    if not isinstance(before, dict) or not {"about", "thumbnails"} <= before.keys():
        raise InputError(f"{file} is damaged: name another folder.")
    if names := [name for name in record if before.get(name) != record[name] and name != "about"]:
        was = OTHERS.get(names[0], f"`{names[0]}` {before.get(names[0])}")
        raise InputError(f"`output` {output} was begun with {was}: repeat that command, or name another folder.")
    return before


def digest_of_images(images: Iterable[Path]) -> str:
    """Return a digest of paths, sizes and times of change; content would have to be read."""
    found = hashlib.sha256()
    for image in images:
        state = image.stat() if image.exists() else None
        found.update(os.fsencode(image) + f"|{state and (state.st_size, state.st_mtime_ns)}|".encode())
    return found.hexdigest()
