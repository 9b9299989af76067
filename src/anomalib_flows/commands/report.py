"""``anomalib-flows report``: one HTML file that shows a run, or compares several."""

from __future__ import annotations

from pathlib import Path

from anomalib_flows.commands.command import Command

COMPARISON = Path("comparison.html")


def report(runs: list[Path], output: Path | None = None, animate: bool = False) -> None:
    """Write one HTML file that shows the results of a run, or compares several.

    The file holds all that it shows: it opens without a network, and can be sent to others.

    Args:
        runs: Run that was tested, or folder that 'predict' or 'test' wrote; several are compared.
        output: File to write; by default report.html in the folder, or for several runs comparison.html in the current
            folder.
        animate: Also write animation.webp into the folder of each run: its images and heatmaps, one after the other.
    """
    from anomalib_flows.results.animation import write_animation
    from anomalib_flows.results.report import write_comparison, write_report

    file = write_report(runs[0], output) if len(runs) == 1 else write_comparison(runs, output or COMPARISON)
    print(f"report       {file}")
    for animation in (one for run in runs if animate for one in write_animation(run)):
        print(f"animation    {animation}")


COMMAND = Command("report", "show a run, or compare several, in one HTML file", report, order=35, newest=True)
