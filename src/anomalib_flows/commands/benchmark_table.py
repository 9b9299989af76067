"""``anomalib-flows benchmark table``: tables from the results of a benchmark."""

from __future__ import annotations

from pathlib import Path

from anomalib_flows.commands.command import Command


def benchmark_table(results: Path, output: Path | None = None) -> None:
    """Write the tables of a benchmark again, in Markdown, HTML and LaTeX.

    Published results stand beside ours, with their sources.

    Args:
        results: Table results.csv of a benchmark, or its folder.
        output: Folder for the tables; by default that of the results.
    """
    from anomalib_flows.benchmark.formats import write_tables
    from anomalib_flows.benchmark.results import RESULTS, read_results
    from anomalib_flows.benchmark.tables import averages, tables_of
    from anomalib_flows.commands.runs import aligned
    from anomalib_flows.core.outputs import require_place

    if output:
        require_place("output", output)
    results = results / RESULTS if results.is_dir() else results
    rows = read_results(results)
    files = write_tables(list(tables_of(rows)), output or results.parent)
    print(f"{aligned(averages(rows), left=(0, 1))}\n")
    print("\n".join(map(str, files)))


COMMAND = Command(
    "benchmark table",
    "write the tables of a benchmark again",
    benchmark_table,
    order=58,
)
