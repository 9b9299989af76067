"""Run a grid: several runs at once, each result kept as it comes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

from anomalib_flows.benchmark.grid import Cell
from anomalib_flows.benchmark.progress import GridBar, log_of
from anomalib_flows.benchmark.results import RESULTS, Result, read_results, result_of, write_results
from anomalib_flows.benchmark.working import Outcome
from anomalib_flows.core.errors import InputError, Interrupted
from anomalib_flows.core.locks import locked
from anomalib_flows.experiment.categories import absolute, is_complete
from anomalib_flows.experiment.resuming import PLACES, require_unchanged
from anomalib_flows.run.directory import Run


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The runs of a grid, and what is known of them from before.

    Args:
        folder: Folder of the results.
        cells: All runs.
        known: Results so far, by run.
        validation: Whether runs are compared on held-out images with drawn defects.
    """

    folder: Path
    cells: list[Cell]
    known: dict[Cell, Result]
    validation: bool = False

    @property
    def missing(self) -> list[Cell]:
        """Runs that are to be made or continued."""
        return [cell for cell in self.cells if cell not in self.known or self.known[cell].error]

    def log_of(self, cell: Cell) -> Path:
        """Return the file for what a run prints, in a folder that exists."""
        log = log_of(self.folder.absolute(), cell)
        log.parent.mkdir(exist_ok=True)
        return log

    def estimate(self, at_once: int) -> float | None:
        """Return the seconds that the missing runs take, from those of the same model so far; None before the first.

        A model without runs so far is taken to be as fast as the others.
        """
        taken = {cell: result.seconds for cell, result in self.known.items() if result.seconds}
        if not taken:
            return None
        by_model = {cell.model: fmean(s for c, s in taken.items() if c.model == cell.model) for cell in taken}
        return sum(by_model.get(cell.model, fmean(taken.values())) for cell in self.missing) / at_once


def plan_of(cells: list[Cell], folder: Path, *, validation: bool = False) -> Plan:
    """Return the runs of a grid with the results that are there.

    Raises:
        InputError: If a run with other options is in the folder, or its table cannot be read.
    """
    file = folder / RESULTS
    rows = {result.run: result for result in read_results(file)} if file.exists() else {}
    cells = [replace(cell, config=replace(cell.config, model=absolute(cell.config.model))) for cell in cells]
    known = {}
    for cell in cells:
        run = Run(cell.path)
        if run.config_file.exists():
            require_same(run, cell)
        row = rows.get(cell.path.relative_to(folder.absolute()).as_posix())
        if is_done(run, validation=validation):
            known[cell] = row if row and not row.error else result_of(cell, folder, validation=validation)
        elif row and row.error:
            known[cell] = row
    return Plan(folder=folder, cells=cells, known=known, validation=validation)


def require_same(run: Run, cell: Cell) -> None:
    """Raise an InputError if a run has other options than the grid asks for."""
    try:
        fields = PLACES | {"precision", "batch_size", "workers", "cache"}
        asked = replace(cell.config, model=cell.config.model.with_defaults("models"))
        require_unchanged(run.config(), asked, {"output", "pictures"}, fields)
    except InputError as error:
        raise InputError(
            f"{run.path} was made with other options ({str(error).partition(' cannot')[0]}): use "
            "the same grid, or another `output`."
        ) from error


def is_done(run: Run, *, validation: bool) -> bool:
    """Return whether a run is complete, with the metrics that are asked for."""
    if not run.config_file.exists():
        return False
    return run.validation.metrics_file.is_file() if validation else is_complete(run)


EndedRuns = Callable[[Plan], Iterator[tuple[Cell, Outcome]]]
"""What makes the missing runs, and yields each one with its outcome when it has ended."""


def run_plan(plan: Plan, ended: EndedRuns) -> list[Result]:
    """Make the missing runs, and write the table after each; return all results.

    Raises:
        InputError: If another command works on the same folder.
        Interrupted: If Ctrl-C stopped it.
    """
    plan.folder.mkdir(parents=True, exist_ok=True)
    with locked(plan.folder) as held:
        if held is False:
            raise InputError(f"Another benchmark writes to {plan.folder}: wait until it has ended.")
        results = dict(plan.known)
        keep(plan, results)
        try:
            bar = GridBar(plan.folder, len(plan.cells), plan.missing)
            with bar.alive():
                for cell, outcome in ended(plan):
                    results[cell] = finished(plan, cell, outcome)
                    keep(plan, results)
                    bar.end(cell, line_of(cell, results[cell]))
            results = measured(plan, results)
            keep(plan, results)
        except KeyboardInterrupt:
            raise Interrupted(plan.folder, "benchmark") from None
    return [results[cell] for cell in plan.cells]


def measured(plan: Plan, results: dict[Cell, Result]) -> dict[Cell, Result]:
    """Return the results with weights and latency of the first complete run of each model."""
    first: dict[str, Cell] = {}
    for cell in plan.cells:
        if not results[cell].error:
            first.setdefault(cell.model, cell)
    return results | {cell: measured_run(cell, results[cell]) for cell in first.values()}


def measured_run(cell: Cell, result: Result) -> Result:
    """Return a result with the number of trained weights, and the latency of one image in torch."""
    from anomalib_flows.benchmark.latency import LatencyOptions, measure_latency
    from anomalib_flows.models.checkpoint import load_pipeline

    if result.latency_ms:
        return result
    detector = load_pipeline(Run(cell.path).model_file).detector
    trained = sum(weight.numel() for weight in detector.parameters() if weight.requires_grad)
    figures = measure_latency(cell.path, LatencyOptions(seconds=1.0))
    return replace(result, parameters=trained, latency_ms=round(figures["rows"][0]["median_ms"], 2))


def finished(plan: Plan, cell: Cell, outcome: Outcome) -> Result:
    """Return the result of a run that has ended."""
    error = outcome.error
    if not error and not is_done(Run(cell.path), validation=plan.validation):
        error = "there are no images to evaluate it on"
    return result_of(cell, plan.folder, validation=plan.validation, seconds=outcome.seconds, error=error)


def keep(plan: Plan, results: dict[Cell, Result]) -> None:
    """Write the table of all results so far."""
    write_results(plan.folder, [results[cell] for cell in plan.cells if cell in results])


def line_of(cell: Cell, result: Result) -> str:
    """Return the line for a run that has ended."""
    if result.error:
        return f"{cell}: failed: {result.error}"
    auroc = "-" if result.image_auroc is None else f"{result.image_auroc:.4f}"
    return f"{cell}: image AUROC {auroc}" + (f", {result.seconds:.0f} s" if result.seconds else "")
