"""``anomalib-flows benchmark``: train and test models on many categories, and write the tables."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from anomalib_flows.commands.command import Command
from anomalib_flows.core.errors import InputError

if TYPE_CHECKING:
    from anomalib_flows.benchmark.options import Execution, Grid
    from anomalib_flows.benchmark.results import Result
    from anomalib_flows.benchmark.running import EndedRuns, Plan


def benchmark(
    grid: Grid,
    execution: Execution,
    output: Path = Path("results/benchmark"),
    select: Literal["test", "validation"] = "test",
    plan: bool = False,
) -> None:
    """Train and test each model with each seed on each category, and write tables of their metrics.

    Each run is kept when it has ended. The same command again skips complete runs, continues the others, and repeats
    those that failed. The exit code is 2 if a run failed.

    Args:
        grid: The runs.
        execution: Where the runs are made.
        output: Folder of the runs, results.csv and the tables.
        select: Images that models are compared on: those of the split test, or held-out good images with drawn
            defects, which need no defective photos. The split test then stays unused.
        plan: Show the runs and stop.
    """
    from anomalib_flows.benchmark.grid import cells_of
    from anomalib_flows.benchmark.running import plan_of, run_plan
    from anomalib_flows.core.outputs import require_place

    require_place("output", output)
    validation = select == "validation"
    planned = plan_of(cells_of(grid, output, validation=validation), output, validation=validation)
    with executor(execution, planned) as (ended, at_once):
        print(described(planned, at_once), flush=True)
        if plan:
            return
        results = run_plan(planned, ended)
    conclude(results, output, validation=validation)


@contextmanager
def executor(execution: Execution, plan: Plan) -> Iterator[tuple[EndedRuns, int]]:
    """Yield what makes the missing runs of a plan, and how many at once."""
    if execution.executor == "ray":
        from anomalib_flows.benchmark.on_ray import on_ray

        with on_ray(execution, plan) as found:
            yield found
    else:
        from anomalib_flows.benchmark.on_this_machine import ended_runs, runs_at_once

        at_once = min(runs_at_once(execution.workers), max(1, len(plan.missing)))
        yield partial(ended_runs, at_once=at_once), at_once


def described(plan: Plan, at_once: int) -> str:
    """Describe the runs, and how long they take if that is known."""
    models = dict.fromkeys(cell.model for cell in plan.cells)
    categories = dict.fromkeys(f"{cell.dataset} {cell.category}" for cell in plan.cells)
    seeds = dict.fromkeys(str(cell.config.seed) for cell in plan.cells)
    lines = [
        f"models      {', '.join(models)}",
        f"categories  {', '.join(categories)}",
        f"seeds       {', '.join(seeds)}",
        f"runs        {len(plan.cells)}; {len(plan.cells) - len(plan.missing)} are complete; {at_once} at once",
    ]
    seconds = plan.estimate(at_once)
    if plan.missing:
        unknown = "known when the first run has ended; while it trains, the bar shows an estimate"
        lines.append(f"time        {unknown if seconds is None else f'about {max(1, round(seconds / 60))} min'}")
    return "\n".join(lines)


def conclude(results: list[Result], output: Path, *, validation: bool) -> None:
    """Write and print the tables; raise an InputError if a run failed."""
    from anomalib_flows.benchmark.formats import write_tables
    from anomalib_flows.benchmark.tables import averages, best_model, tables_of
    from anomalib_flows.commands.runs import aligned

    files = write_tables(list(tables_of(results)), output)
    print(f"\n{aligned(averages(results), left=(0, 1))}\n")
    if validation and (best := best_model(results)):
        print(f"{best}\n")
    print("\n".join(map(str, files)))
    if failed := [result for result in results if result.error]:
        first = failed[0]
        raise InputError(
            f"{len(failed)} of {len(results)} runs failed, the first one ({first.model}, {first.category}, seed "
            f"{first.seed}) since: {first.error.rstrip('.')}. Correct this, and type the command again."
        )


COMMAND = Command(
    "benchmark",
    "train and test models on many categories, and write tables",
    benchmark,
    order=57,
    config=True,
    records="anomalib_flows.benchmark.options",
)
