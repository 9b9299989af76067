"""Read the files of a folder of results, and find damaged ones before anything is written."""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from anomalib_flows.core.commit import complete
from anomalib_flows.core.errors import InputError, NotTestedError, first_line
from anomalib_flows.core.parsing import parse_json
from anomalib_flows.results.journal import RECORD
from anomalib_flows.results.report.formats import Curves, Facts, Loss, Metrics, Row, Thumbnail
from anomalib_flows.run.directory import Run
from anomalib_flows.run.listing import model_facts

T = TypeVar("T")
AGAIN = "test or predict again"


@dataclass(frozen=True)
class Results:
    """Results in a folder.

    Args:
        files: The folder.
        run: The run that made them: the folder itself, or the one above it; None if it is elsewhere.
        facts: What is known about the model.
        metrics: Metrics; None where the truth is unknown.
    """

    files: Run
    run: Run | None
    facts: Facts
    metrics: Metrics | None

    @property
    def path(self) -> Path:
        """Folder of the results."""
        return self.files.path

    @property
    def name(self) -> str:
        """Name in a title and a legend: the last three folders, which name dataset, product and run."""
        return "/".join(self.path.absolute().parts[1:][-3:])

    def rows(self) -> Iterator[Row]:
        """Read the table of predictions, row by row."""
        yield from read_table(self.files.predictions_file, Row)

    def position(self, row: Row) -> float:
        """Return the normalised score of an image, without clipping where its raw score is known."""
        scale, raw = self.facts["image_scale"], row["raw_score"]
        span = scale["threshold"] - scale["typical"]
        place = row["score"] if raw is None or span <= 0 else 0.5 + 0.5 * (raw - scale["threshold"]) / span
        return place if math.isfinite(place) else row["score"]  # of a span that is next to nothing

    def former_threshold(self) -> bool:
        """Return whether the run has had another threshold since these results; False if that cannot be told."""
        if self.run is None or self.facts["protocol"] == "paper":  # which leaves the threshold of the run as it is
            return False
        try:
            return model_facts(self.run.model_file).threshold != self.facts["image_scale"]["threshold"]
        except (OSError, InputError):
            return False

    def thumbnails(self) -> Iterator[Thumbnail]:
        """Read the thumbnails, one by one."""
        file = self.files.thumbnails_file
        if file.is_file():
            with file.open("rb") as lines:
                for line in lines:
                    yield checked(Thumbnail, line, file)

    def rows_with_thumbnails(self) -> Iterator[tuple[Row, Thumbnail | None]]:
        """Pair each row with the thumbnail of its image, if it has one; both files have the same order."""
        thumbnails = self.thumbnails()
        waiting = next(thumbnails, None)
        for row in self.rows():
            if waiting and Path(waiting["path"]) == Path(row["path"]):
                yield row, waiting
                waiting = next(thumbnails, None)
            else:
                yield row, None
        if waiting:
            raise InputError(f"{self.files.thumbnails_file} has images that predictions.csv lacks: {AGAIN}.")

    def curves(self) -> Curves | None:
        """Read the curves; None if there are none."""
        file = self.files.curves_file
        return checked(Curves, file.read_bytes(), file) if file.is_file() else None

    def losses(self) -> list[Loss]:
        """Read the losses of the training; none if it is elsewhere."""
        file = self.run.losses_file if self.run else None
        return list(read_table(file, Loss)) if file and file.is_file() else []

    def splits(self) -> Counter[tuple[str, str]]:
        """Count the images of each split and kind of defect."""
        file = self.run.splits_file if self.run else None
        if not file or not file.is_file():
            return Counter()
        from anomalib_flows.data.splits import read_splits

        return Counter((sample.split, sample.defect) for sample in read_splits(file))

    def versions(self) -> dict[str, Any]:
        """Read the versions of the libraries that made the run."""
        file = self.run.path / "versions.json" if self.run else None
        return checked(dict[str, Any], file.read_bytes(), file) if file and file.is_file() else {}


def read_results(path: Path) -> Results:
    """Read what is known about the results in a folder.

    Raises:
        InputError: If the folder has no results, or a file is damaged or of an earlier version.
    """
    files = Run(path)
    for folder in (path, path.absolute().parent):  # which may be the run
        complete(folder)
    if not files.predictions_file.is_file():
        raise unfinished(path) if (path / RECORD).is_file() else untested(Run.open(path))
    predicted = files.prediction_file
    if predicted.is_file():
        facts = checked(Facts, predicted.read_bytes(), predicted)
        return Results(files, run_of(path, facts.get("model")), facts, None)
    if not files.metrics_file.is_file():
        raise InputError(f"{path} has neither metrics.json nor {predicted.name}: {AGAIN}.")
    metrics = checked(Metrics, files.metrics_file.read_bytes(), files.metrics_file)
    return Results(files, run_of(path, metrics.get("model")), metrics, metrics)


def unfinished(path: Path) -> InputError:
    """Return the error for a prediction that was interrupted."""
    return InputError(f"{path} holds an unfinished prediction: predict again with `resume`, and then report it.")


def untested(run: Run) -> InputError:
    """Return the error for a run without results: it has no test images, or was not tested."""
    splits = Results(run, run, cast("Facts", {}), None).splits()
    if splits and not any(split == "test" for split, _ in splits):
        return InputError(
            f"{run.path} has no test images, so there are no results to report: predict photos with it, and report the "
            "folder of the predictions."
        )
    return NotTestedError(run.path)


def run_of(path: Path, model: str | None) -> Run | None:
    """Return the run that made results: the folder itself, or the one above it; None if another model made them."""
    around = (Run(folder) for folder in (path, path.absolute().parent) if Run(folder).config_file.is_file())
    run = next(around, None)
    return run if run and (model is None or Path(model).resolve() == run.path.resolve()) else None


@cache
def adapter(kind: Any) -> TypeAdapter[Any]:
    """Return what checks values of a form; making it takes longer than using it."""
    return TypeAdapter(kind)


def checked(kind: type[T], content: bytes, file: Path) -> T:
    """Parse JSON of a known form."""
    try:
        found: T = adapter(cast("Hashable", kind)).validate_python(parse_json(content.decode("utf-8-sig")))
    except ValueError as error:
        raise damaged(file, error) from None
    return found


def damaged(file: Path, error: Exception, line: int | None = None) -> InputError:
    """Return the error for a file that does not have its form: where the first problem is, and what it is."""
    problem = first_line(error)
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        problem = ": ".join(filter(None, (".".join(map(str, first["loc"])), first["msg"])))
    where = f"line {line}: {problem}" if line else problem
    return InputError(f"{file} is damaged, or of another version ({where}): {AGAIN}.")


def read_table(file: Path, kind: type[T]) -> Iterator[T]:
    """Read rows of a known form."""
    # Names of files need not be valid UTF-8.
    with file.open(newline="", encoding="utf-8", errors="surrogateescape") as lines:
        reader = csv.DictReader(lines, strict=True)
        try:
            for row in reader:
                yield adapter(cast("Hashable", kind)).validate_python(row)
        except (ValidationError, csv.Error) as error:
            raise damaged(file, error, reader.line_num) from None
