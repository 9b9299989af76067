"""The results of a grid: a row for each run, in one CSV file from which all tables are made."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass, fields
from io import StringIO
from pathlib import Path
from typing import Any, get_type_hints

from anomalib_flows.benchmark.grid import Cell
from anomalib_flows.core.errors import InputError
from anomalib_flows.core.files import atomic
from anomalib_flows.core.parsing import read_text
from anomalib_flows.experiment.categories import metrics_of
from anomalib_flows.results.table import csv_line, written_word
from anomalib_flows.run.directory import Run

RESULTS = "results.csv"
LARGEST = 10**8


@dataclass(frozen=True)
class Result:
    """A run and its metrics; None where one is undefined, or the run failed.

    Args:
        model: Name of model and encoder.
        method: Name of the model's class, as it is registered.
        dataset: Name of the dataset.
        category: The category.
        seed: The seed.
        protocol: Protocol of constants and thresholds.
        split: Images that it was evaluated on: ``test``, or ``validation`` with drawn defects.
        size: Height and width of the images.
        image_auroc: Image AUROC.
        image_f1_max: Best image F1.
        pixel_auroc: Pixel AUROC.
        pixel_aupro: AUPRO.
        seconds: Duration of the run; None if it was interrupted meanwhile.
        parameters: Number of trained weights, if it was counted.
        megabytes: Size of the model file, which has the encoder.
        latency_ms: Median time of one image in torch, if it was measured.
        version: Version of this package.
        run: Run directory.
        error: Why the run failed; empty if it did not.
    """

    model: str
    method: str
    dataset: str
    category: str
    seed: int
    protocol: str
    split: str
    size: str
    image_auroc: float | None
    image_f1_max: float | None
    pixel_auroc: float | None
    pixel_aupro: float | None
    seconds: float | None
    parameters: int | None
    megabytes: float | None
    latency_ms: float | None
    version: str
    run: str
    error: str


COLUMNS = [one.name for one in fields(Result)]
METRICS = ("image_auroc", "image_f1_max", "pixel_auroc", "pixel_aupro")


def result_of(cell: Cell, folder: Path, *, validation: bool, seconds: float | None = None, error: str = "") -> Result:
    """Read the result of a run; of one that failed it has the error alone."""
    from anomalib_flows import __version__

    run, config = Run(cell.path), cell.config
    metrics = None if error else run.validation.metrics() if validation else run.metrics()
    return Result(
        **dict(zip(METRICS, metrics_of(metrics), strict=True)),
        model=cell.model,
        method=config.model.class_path,
        dataset=cell.dataset,
        category=cell.category,
        seed=config.seed,
        protocol=config.protocol,
        split="validation" if validation else "test",
        size="x".join(map(str, config.image.height_width)),
        seconds=None if error else seconds,
        parameters=None,
        megabytes=None if error else round(run.model_file.stat().st_size / 1e6, 1),
        latency_ms=None,
        version=__version__,
        run=cell.path.relative_to(folder.absolute()).as_posix(),
        error=error,
    )


def write_results(folder: Path, results: Iterable[Result]) -> None:
    """Write the table of all runs."""
    lines: list[list[Any]] = [COLUMNS]
    for result in results:
        values = (getattr(result, name) for name in COLUMNS)
        lines.append([written_word(value) if isinstance(value, str) else value for value in values])
    with atomic(folder / RESULTS) as temporary:
        temporary.write_bytes(b"".join(map(csv_line, lines)))


def read_results(file: Path) -> list[Result]:
    """Read the table of all runs.

    Raises:
        InputError: If the file is damaged, or was written by another version.
    """
    lines = csv.reader(StringIO(read_text(file, "The table", LARGEST), newline=""))
    types = get_type_hints(Result)
    if next(lines, None) != COLUMNS:
        raise InputError(f"{file} has other columns than those of this version: run the benchmark again.")
    try:
        named = (zip(COLUMNS, row, strict=True) for row in lines)
        return [Result(**{name: converted(text, types[name]) for name, text in row}) for row in named]
    except (ValueError, csv.Error) as error:
        raise InputError(f"{file} is damaged ({error}): run the benchmark again, which repeats no run.") from error


def converted(text: str, kind: Any) -> Any:
    """Return a value of the table in its type."""
    if kind is str:
        return text[1:] if text.startswith("'") else text
    if not text and kind is not int:
        return None
    return int(text) if kind in (int, int | None) else float(text)
