"""The results of a grid: a row for each run, in one CSV file from which all tables are made."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_type_hints

from anomalib_flows.benchmark.grid import Cell, evaluated_split
from anomalib_flows.core.errors import InputError
from anomalib_flows.core.files import atomic
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
        parameters: Number of weights of the model without its encoder.
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
    parameters, size = (None, None) if error else size_of(run)
    return Result(
        **dict(zip(METRICS, metrics_of(metrics), strict=True)),
        model=cell.model,
        method=config.model.class_path,
        dataset=cell.dataset,
        category=cell.category,
        seed=config.seed,
        protocol=config.protocol,
        split=evaluated_split(validation=validation),
        size="x".join(map(str, config.image.height_width)),
        seconds=None if error else seconds,
        parameters=parameters,
        megabytes=size,
        latency_ms=None,
        version=__version__,
        run=cell.path.relative_to(folder.absolute()).as_posix(),
        error=error,
    )


def size_of(run: Run) -> tuple[int, float]:
    """Return the number of weights without the encoder's, and the megabytes of the model file."""
    with run.model_file.open("rb") as stream:
        header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
    shapes = {name: entry["shape"] for name, entry in header.items() if name != "__metadata__"}
    own = [shape for name, shape in shapes.items() if "detector." in name and ".encoder." not in name]
    return sum(map(math.prod, own)), round(run.model_file.stat().st_size / 1e6, 1)


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
    from anomalib_flows.core.parsing import read_text

    reader = csv.reader(read_text(file, "The table", LARGEST).splitlines())
    try:
        if next(reader, None) != COLUMNS:
            raise InputError(f"{file} has other columns than those of this version: run the benchmark again.")
        return [row_of(values) for values in reader]
    except (ValueError, csv.Error) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{file} is damaged ({error}): run the benchmark again, which repeats no run.") from error


def row_of(values: list[str]) -> Result:
    """Read a row of the table."""
    types = get_type_hints(Result)
    given = dict(zip(COLUMNS, values, strict=True))
    read = {name: converted(text, types[name]) for name, text in given.items()}
    return Result(**read)


def converted(text: str, kind: Any) -> Any:
    """Return a value of the table in its type."""
    if kind is str:
        return text[1:] if text.startswith("'") else text
    if not text and kind is not int:
        return None
    return int(text) if kind in (int, int | None) else float(text)
