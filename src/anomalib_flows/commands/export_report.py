"""Print how an exported model compares with the trained one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anomalib_flows.export.report import ExportReport

COLUMNS = ("computed in", "score differs by", "map differs by", "masks differ", "labels differ", "AUROC", "ms")
ROW = "{:12} {:>24} {:>24} {:>13} {:>14} {:>15} {:>13}"


def print_report(report: ExportReport) -> None:
    """Print a table of differences, with a row for each inference precision, and the file."""
    print(ROW.format(*COLUMNS))
    for precision, differences in report.computed_in.items():
        print(ROW.format(precision, *cells(differences, report.count)))
    print(f"Compared on {report.count} images ({report.images}). AUROC and ms: trained model, exported model.")
    for note in notes(report):
        print(note)
    print(f"model        {report.file}")


def cells(differences: Mapping[str, Any], count: int) -> list[str]:
    """Return the cells of a row.

    Args:
        differences: Differences in one inference precision.
        count: Number of images.
    """
    values = [f"{differences[of]['largest']:.1e}, mean {differences[of]['mean']:.1e}" for of in ("score", "map")]
    masks = round(count * (1 - differences["mask"]["equal_images"]))
    before, after = differences["image_auroc"].values()
    auroc = "-" if before is None else f"{before:.4f} {after:.4f}"
    times = " ".join(f"{ms:.1f}" for ms in differences["milliseconds"].values())
    return [*values, str(masks or "none"), str(len(differences["flipped"]) or "none"), auroc, times]


def notes(report: ExportReport) -> list[str]:
    """Return the lines below the table."""
    lines = []
    if len(report.computed_in) > 1:
        intended, default = report.computed_in
        lines.append(f"The runtime uses {intended}; {default} is the default of this device.")
    if report.intended["flipped"] and "bounds" in report.intended:
        bound = report.intended["bounds"]["score"]
        lines.append(f"Labels differ in the first row only where the score is within {bound:g} of the threshold.")
    if parts := ", ".join(f"{part} {size / 1e6:.1f}" for part, size in report.sizes.items() if size > 1e4):
        lines.append(f"Megabytes: {parts}.")
    return lines
