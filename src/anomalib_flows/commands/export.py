"""``anomalib-flows export``: one file, and how it compares with the trained model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anomalib_flows.commands.command import Command
from anomalib_flows.commands.next_step import after_export

if TYPE_CHECKING:
    from anomalib_flows.export.exporter import ExportReport
    from anomalib_flows.export.options import ExportOptions

COLUMNS = ("computed in", "score differs by", "map differs by", "masks differ", "labels differ", "AUROC", "ms")
ROW = "{:12} {:>24} {:>24} {:>13} {:>14} {:>15} {:>13}"


def export_command(run: Path, options: ExportOptions, trust: bool = False) -> None:
    """Write a trained detector as one file, and compare its results with those of the trained detector.

    Args:
        run: Run directory.
        options: What to write, and which images to compare on.
        trust: Import models and datasets that the run names and no installed package registers, which runs their code.
    """
    from anomalib_flows.export.export import export  # torch is slow to import
    from anomalib_flows.run.directory import is_exported

    report = export(run, options, trust=trust)
    print_report(report)
    if options.interface == "native" and is_exported(report.file):
        print(f"\n{after_export(report.file)}")


def print_report(report: ExportReport) -> None:
    """Print a table of differences, with a row for each inference precision, and the file."""
    print(ROW.format(*COLUMNS))
    for precision, differences in report.computed_in.items():
        print(ROW.format(precision, *difference_cells(differences, report.count)))
    print(f"Compared on {report.count} images ({report.images}). AUROC and ms: trained model, exported model.")
    for note in export_notes(report):
        print(note)
    print(f"model        {report.file}")


def difference_cells(differences: Mapping[str, Any], count: int) -> list[str]:
    """Return the cells of a row."""
    values = [f"{differences[of]['largest']:.1e}, mean {differences[of]['mean']:.1e}" for of in ("score", "map")]
    masks = round(count * (1 - differences["mask"]["equal_images"]))
    before, after = differences["image_auroc"].values()
    auroc = "-" if before is None else f"{before:.4f} {after:.4f}"
    times = " ".join(f"{ms:.1f}" for ms in differences["milliseconds"].values())
    return [*values, str(masks or "none"), str(len(differences["flipped"]) or "none"), auroc, times]


def export_notes(report: ExportReport) -> list[str]:
    """Return the lines below the table."""
    lines = []
    if len(report.computed_in) > 1:
        intended, default = report.computed_in
        lines.append(f"The runtime uses {intended}; {default} is the default of this device.")
    if report.intended["flipped"] and "bounds" in report.intended:
        bound = report.intended["bounds"]["score"]
        lines.append(f"Labels differ in the first row only where the score is within {bound:g} of the threshold.")
    if any(None in differences["image_auroc"].values() for differences in report.computed_in.values()):
        lines.append("AUROC needs good and defective images: --images test compares on the test images of the run.")
    if parts := ", ".join(f"{part} {size / 1e6:.1f}" for part, size in report.sizes.items() if size > 1e4):
        lines.append(f"Megabytes: {parts}.")
    return lines


COMMAND = Command(
    name="export",
    help="write a detector as one file, for OpenVINO, ONNX or torch, and compare it",
    function=export_command,
    order=60,
    records="anomalib_flows.export.options",
    newest=True,
)
