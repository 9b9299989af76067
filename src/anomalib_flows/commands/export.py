"""``anomalib-flows export``."""

from __future__ import annotations

from pathlib import Path

from anomalib_flows.commands.command import Command
from anomalib_flows.commands.export_report import print_report
from anomalib_flows.export.options import ExportOptions


def export_command(run: Path, options: ExportOptions) -> None:
    """Write a trained detector as one file, and compare its results with those of the trained detector.

    Args:
        run: Run directory.
        options: What to write, and which images to compare on.
    """
    from anomalib_flows.export.export import export  # torch is slow to import

    print_report(export(run, options))


COMMAND = Command(
    name="export",
    help="write a detector as one file, for OpenVINO, ONNX or torch, and compare it",
    function=export_command,
    order=60,
)
