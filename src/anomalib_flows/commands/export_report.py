"""The part of ``export`` that compares a file with the trained model, and says how they compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.types import Precision, Sample
from anomalib_flows.export.exported import Exported
from anomalib_flows.export.parity import Judge, compare, summarise


def make_report(
    trained: Judge, written: Exported, samples: Sequence[Sample], images: str, bounds: Mapping[str, float] | None
) -> dict[str, Any]:
    """Compare an export with the trained model, in the precision that it is for and in that the device would choose."""
    compared = {
        precision: summarise(answers, samples, None if number else bounds)
        for number, (precision, answers) in enumerate(compare(trained, written.judges, samples).items())
    }
    return {
        "images": {"what": images, "count": len(samples)},
        "converted_in_seconds": round(written.seconds, 2),
        "bytes": written.sizes,
        "quantization": written.quantization,
        "computed_in": compared,
    }


def refuse_another(report: dict[str, Any], precision: Precision) -> None:
    """Refuse a file that decides otherwise than one of its precision may.

    Raises:
        InputError: If it does.
    """
    first = next(iter(report["computed_in"].values()))
    if not first.get("within", True):
        raise InputError(
            f"The {precision} model decides otherwise than the trained one: {'; '.join(first['exceeded'])}. "
            "Nothing was written; please report this with the run's config.yaml."
        )


def print_report(report: dict[str, Any], file: Path) -> None:
    """Say how the exported model compares."""
    row = "{:12} {:>24} {:>24} {:>13} {:>14} {:>15} {:>13}".format
    print(row("computed in", "score differs by", "map differs by", "masks differ", "labels differ", "AUROC", "ms"))
    count = report["images"]["count"]
    for precision, of in report["computed_in"].items():
        differs = [f"{of[what]['largest']:.1e}, mean {of[what]['mean']:.1e}" for what in ("score", "map")]
        masks = round(count * (1 - of["mask"]["equal_images"]))
        before, after = of["image_auroc"].values()
        ranked = "-" if before is None else f"{before:.4f} {after:.4f}"
        times = " ".join(f"{ms:.1f}" for ms in of["milliseconds"].values())
        print(row(precision, *differs, masks or "none", len(of["flipped"]) or "none", ranked, times))
    print(f"Compared on {count} images ({report['images']['what']}). AUROC and ms: of the trained model, of the file.")
    if len(report["computed_in"]) > 1:
        asked, own = report["computed_in"]
        print(f"{asked} is what the runtime asks for, {own} what this device would choose by itself.")
    first = next(iter(report["computed_in"].values()))
    if first["flipped"] and "bounds" in first:
        print(f"Where the first line's labels differ, the score is the threshold, to {first['bounds']['score']:g}.")
    if parts := ", ".join(f"{part} {size / 1e6:.1f}" for part, size in report["bytes"].items() if size > 1e4):
        print(f"Megabytes: {parts}.")
    print(f"model        {file}")
