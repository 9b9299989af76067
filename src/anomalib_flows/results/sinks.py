"""Consumers of a stream of results, among them the table of predictions; none of them keeps pictures."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from io import FileIO, StringIO
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from anomalib_flows.core.files import atomic
from anomalib_flows.core.types import LABELS, NORMAL, ImageResult, ImageSize
from anomalib_flows.results.metrics.counts import counted
from anomalib_flows.results.metrics.evaluate import evaluate

COLUMNS = ("path", "label", "score", "p_value", "truth", "defect", "outcome", "raw_score")
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""Beginnings of cells that spreadsheets take for formulas."""


class Sink(Protocol):
    """Take results one by one."""

    def add(self, result: ImageResult) -> None:
        """Take the result of an image."""


class Thresholds(NamedTuple):
    """Raw score above which an image is anomalous, value of a map above which a pixel is, and score normalised to 0."""

    image: float
    pixel: float
    typical: float = 0.0

    @property
    def image_scale(self) -> dict[str, float]:
        """Raw scores that are normalised to 0 and 0.5, as files of results name them."""
        return {"typical": self.typical, "threshold": self.image}


def drain(results: Iterable[ImageResult], sinks: Sequence[Sink]) -> None:
    """Pass each result to all sinks."""
    for result in results:
        for sink in sinks:
            sink.add(result)


class LabelCounter:
    """Count the predicted labels."""

    def __init__(self) -> None:
        self.counts = Counter[int]()

    def add(self, result: ImageResult) -> None:
        """Count an image."""
        self.counts[result.label] += 1


class SizeCounter:
    """Count the heights and widths of the pictures."""

    def __init__(self) -> None:
        self.counts = Counter[ImageSize]()

    def add(self, result: ImageResult) -> None:
        """Count a picture."""
        if result.picture is not None:
            height, width = result.picture.shape[:2]
            self.counts[height, width] += 1


class ErrorCounter:
    """Count wrong decisions: false alarms, good images with a mask, and missed images of each kind of defect."""

    def __init__(self) -> None:
        # By kind of defect; good images have none.
        self.total, self.wrong, self.marked = Counter[str](), Counter[str](), 0

    def add(self, result: ImageResult) -> None:
        """Count an image whose true label is known."""
        if result.sample is None:
            raise ValueError("Errors need the ground truth of each image.")
        kind = "" if result.sample.label == NORMAL else result.sample.defect
        self.total[kind] += 1
        self.wrong[kind] += result.wrong
        self.marked += not kind and bool(result.mask.any())

    def errors(self) -> dict[str, Any]:
        """Return the counts of false alarms, of good images with a mask, and of missed defects, also for each kind."""
        missed = {kind: counted(self.wrong[kind], self.total[kind]) for kind in sorted(self.total) if kind}
        every = counted(*(counts.total() - counts[""] for counts in (self.wrong, self.total)))
        return {
            "false_alarms": counted(self.wrong[""], self.total[""]),
            "marked_good_images": counted(self.marked, self.total[""]),
            "missed": every,
            "missed_of_kind": missed,
        }


class MetricsSink:
    """Collect scores, maps and masks, to compute metrics when all images are there.

    Exact ranking needs all pixels: the maps of a test set are kept once.
    """

    def __init__(self) -> None:
        self.kept: dict[str, Any] = {name: [] for name in ("scores", "labels", "maps", "masks", "defects")}

    def add(self, result: ImageResult) -> None:
        """Keep what metrics need of an image; an exported model gives normalised maps only."""
        if result.sample is None:
            raise ValueError("Metrics need the ground truth of each image.")
        score = result.score if result.raw_score is None else result.raw_score
        shown = result.anomaly_map if result.raw_map is None else result.raw_map
        label, mask = result.sample.label, None if result.sample.label == NORMAL else result.ground_truth
        for kept, value in zip(self.kept.values(), (score, label, shown, mask, result.sample.defect), strict=True):
            kept.append(value)

    def metrics(self, thresholds: Thresholds) -> dict[str, Any]:
        """Compute all metrics."""
        scores = np.array(self.kept["scores"], np.float32)
        return evaluate(**self.kept | {"scores": scores}, threshold=thresholds.image, pixel_threshold=thresholds.pixel)


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
