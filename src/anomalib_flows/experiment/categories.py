"""A run of each category of a dataset, one after the other, and the table of their metrics."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

from anomalib_flows.core.errors import InputError, Interrupted
from anomalib_flows.core.files import atomic
from anomalib_flows.data.datasets.base import CategoryDataset
from anomalib_flows.data.splits import read_splits, select
from anomalib_flows.experiment.resuming import PLACES, require_unchanged
from anomalib_flows.experiment.train import train
from anomalib_flows.results.table import csv_line, written_word
from anomalib_flows.run.component import Component
from anomalib_flows.run.config import TrainConfig
from anomalib_flows.run.directory import Run, require_free, require_name
from anomalib_flows.run.listing import read_run

logger = logging.getLogger(__name__)

METRICS = (
    ("image AUROC", "image", "auroc"),
    ("image best F1", "image", "f1_max"),
    ("pixel AUROC", "pixel", "auroc"),
    ("AUPRO", "pixel", "aupro"),
)
RESULTS, TABLE = "results.csv", "table.md"
"""Files of a folder of results over categories."""


@dataclass(frozen=True)
class CategoryResult:
    """Metrics of a category, in the order of METRICS; None where one is undefined, or the run failed.

    Args:
        category: Name of the category.
        run: Run directory.
        metrics: The metrics.
        error: Why the run failed; empty if it did not.
    """

    category: str
    run: Path
    metrics: tuple[float | None, ...] = (None,) * len(METRICS)
    error: str = ""


@dataclass(frozen=True)
class CategoryResults:
    """Folder of the tables, and the results of the categories."""

    folder: Path
    results: tuple[CategoryResult, ...]

    @property
    def failed(self) -> list[str]:
        """Categories whose run failed."""
        return [result.category for result in self.results if result.error]

    def rows(self) -> list[list[str]]:
        """Return the table: a row for each category, and one for the means of those metrics that all of them have."""
        rows = [["category", *(title for title, _, _ in METRICS)]]
        rows += [[result.category, *map(cell, result.metrics)] for result in self.results]
        columns = ([result.metrics[number] for result in self.results] for number in range(len(METRICS)))
        return [*rows, ["average", *(cell(mean_of(column)) for column in columns)]]


def cell(value: float | None) -> str:
    """Return a metric as text; a dash if it is undefined."""
    return "-" if value is None else f"{value:.4f}"


def mean_of(values: Sequence[float | None]) -> float | None:
    """Return the mean; None if a value is missing, since means over other categories cannot be compared."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if 0 < len(known) == len(values) else None


def categories_of(config: TrainConfig, *, trust: bool = False) -> list[str]:
    """Return the categories that a training takes one by one; none if it makes a single run."""
    dataset = config.data.build("datasets", trust=trust) if config.data else None
    return dataset.each() if isinstance(dataset, CategoryDataset) else []


def train_each(
    config: TrainConfig,
    categories: Sequence[str],
    resume: Path | None = None,
    name: str | None = None,
    *,
    trust: bool = False,
) -> CategoryResults:
    """Train and test a model of each category, and write the table of their metrics.

    The runs are ``OUTPUT/MODEL/DATASET/CATEGORY/NAME``, and the tables are in ``OUTPUT/MODEL/DATASET/NAME``.

    Args:
        config: Everything that makes the runs; its dataset has the category ``all``.
        categories: The categories, from :func:`categories_of`.
        resume: Folder of the tables of a training that was stopped: runs that are complete are not repeated.
        name: Name of the folder and of the runs; by default all-001, or the next free number.
        trust: Whether to import classes that the configuration names and no installed package registers.

    Raises:
        InputError: If a value cannot be used. What fails in a single run is recorded instead.
        Interrupted: If Ctrl-C stopped the training.
    """
    require_name(name)
    if resume and name:
        raise InputError("`name` is that of a new run, and `resume` continues a run: leave out one of them.")
    run = reopen(resume, config) if resume else create(config, name, categories)
    config = replace(config, output=run.path.absolute().parents[2])  # the folder may have been moved
    with run.alone():
        results: list[CategoryResult] = []
        for category in announced(categories):
            results.append(train_category(of_category(config, category), category, run, trust=trust))
            write_tables(CategoryResults(run.path, tuple(results)))
    return CategoryResults(run.path, tuple(results))


def reopen(folder: Path, config: TrainConfig) -> Run:
    """Return the folder of the tables; raise an InputError if its runs would differ from those that are complete."""
    run = Run.open(folder)
    require_unchanged(run.config(), config, records={"loader", "output"}, fields=PLACES)
    return run


def create(config: TrainConfig, name: str | None, categories: Sequence[str]) -> Run:
    """Create the folder of the tables, with an empty table and the configuration to resume with."""
    if name in categories:
        raise InputError(f"`name` {name} is the name of a category, where its runs are: choose another name.")
    config = replace(config, model=absolute(config.model), output=config.output.absolute())
    data = config.data or Component("")
    dataset: CategoryDataset = data.build("datasets")
    config = replace(config, data=Component(data.class_path, dataset.options()))
    place = config.output, config.model.class_path.rpartition(".")[2].lower(), dataset.name
    parents = [Path(*place, category) for category in ("", *categories)]
    numbered = (f"all-{number:03}" for number in count(1))
    chosen = name or next(one for one in numbered if not any((parent / one).exists() for parent in parents))
    for parent in parents:
        require_free(parent / chosen)

    def fill(made: Run) -> None:
        made.write_config(config)
        write_tables(CategoryResults(made.path, ()))

    return Run.create(*place, "", chosen, fill)


def absolute(model: Component) -> Component:
    """Return a model whose file of weights, if it has one, has an absolute path."""
    weights = model.init_args.get("weights")
    if not weights or not Path(weights).is_file():
        return model
    return Component(model.class_path, {**model.init_args, "weights": str(Path(weights).absolute())})


def of_category(config: TrainConfig, category: str) -> TrainConfig:
    """Return the configuration of the run of a category."""
    data = config.data or Component("")
    return replace(config, data=Component(data.class_path, {**data.init_args, "category": category}))


def train_category(config: TrainConfig, category: str, tables: Run, *, trust: bool) -> CategoryResult:
    """Make or resume the run of a category, or take it as it is if it is complete; record why it failed."""
    path = tables.path.parent / category / tables.path.name
    try:
        if not path.exists():
            train(config, name=path.name, trust=trust)
        elif not is_complete(Run(path)):
            train(config, resume=path, trust=trust)
    except InputError as error:
        logger.info("%s failed: %s", category, error)
        return CategoryResult(category, path, error=str(error))
    except Interrupted:
        raise Interrupted(tables.path, "training all categories") from None
    return CategoryResult(category, path, metrics_of(Run(path).metrics()))


def is_complete(run: Run) -> bool:
    """Return whether a run has thresholds, and was tested if it has test images; users may calibrate it afterwards."""
    listed = read_run(run.path)
    if listed.facts is None or math.isnan(listed.facts.threshold):
        return False
    return bool(listed.metrics) or not select(read_splits(run.splits_file), "test")


def metrics_of(metrics: dict[str, Any] | None) -> tuple[float | None, ...]:
    """Return the metrics of the table; None for those that are undefined."""
    return tuple(metrics[level][key] if metrics else None for _, level, key in METRICS)


def announced(categories: Sequence[str]) -> Iterator[str]:
    """Yield the categories, and say before each one how far the training is and how long the rest takes."""
    start = time.perf_counter()
    for done, category in enumerate(categories):
        left = (time.perf_counter() - start) / done * (len(categories) - done) if done else 0
        estimate = f", about {left / 60:.0f} min left" if left >= 60 else ""
        logger.info("\n%s (%d of %d%s)", category, done + 1, len(categories), estimate)
        yield category


def write_tables(results: CategoryResults) -> None:
    """Write results.csv and table.md."""
    lines: list[list[object]] = [["category", "run", *(f"{level}_{key}" for _, level, key in METRICS), "error"]]
    lines += [[written_word(one.category), one.run, *one.metrics, written_word(one.error)] for one in results.results]
    with atomic(results.folder / RESULTS) as temporary:
        temporary.write_bytes(b"".join(map(csv_line, lines)))
    header, *rows = results.rows()
    table = [header, ["---", *["---:"] * len(METRICS)], *rows]
    with atomic(results.folder / TABLE) as temporary:
        text = "".join(f"| {' | '.join(line)} |\n" for line in table)
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
