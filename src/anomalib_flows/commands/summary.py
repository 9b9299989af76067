"""What ends training and testing: decisions, the table of metrics, wrong images by name, and the paths of the files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anomalib_flows.results.decisions import error_lines, few_images_lines, wrong_image_lines

if TYPE_CHECKING:
    from anomalib_flows.run.directory import Run

COLUMNS = (
    ("image AUROC", "image", "auroc"),
    ("image AP", "image", "average_precision"),
    ("image F1*", "image", "f1"),
    ("image bestF1", "image", "f1_max"),
    ("pixel AUROC", "pixel", "auroc"),
    ("pixel AUPRO", "pixel", "aupro"),
    ("pixel F1*", "pixel", "f1"),
    ("pixel bestF1", "pixel", "f1_max"),
)

DRAWN = """Validation, on held-out normal images as they are and with drawn defects; these compare settings, and
promise nothing for real defects:"""
NOTHING_TESTED = """There are no test images, so nothing was tested. Defective images of your own are given as
--data.abnormal (dataset folder); a part of the good ones is then kept for the test."""
LISTED = "Validation, on the validation images of the dataset:"


def print_summary(run: Run, *, validated: bool = True, disturbed: bool = False) -> None:
    """Print how many decisions of a run were wrong, its metrics, overall and for each kind of defect, and its files.

    With ``validated`` the metrics of the validation are current; ``disturbed`` shows those on disturbed images.
    """
    metrics = run.metrics()
    beside = run.disturbed.metrics() if disturbed else None
    few = few_images_lines(run) if run.config_file.is_file() else []  # an exported model has no configuration
    if metrics:
        disturbed_errors = [f"Disturbed: {line}" for line in error_lines(beside or {})]
        print("\n" + "\n".join([*error_lines(metrics), *few, *disturbed_errors, "", metrics_table(metrics, beside)]))
    else:
        print("\n" + "\n".join([NOTHING_TESTED, *few]))
    validation = run.validation.metrics() if validated else None
    if validation:
        title = DRAWN if validation.get("anomalies") == "drawn" else LISTED
        print("\n" + "\n".join([title, "", *error_lines(validation), "", metrics_table(validation)]))
    if wrong := wrong_images(run) if metrics else []:
        print("\n" + "\n".join(wrong))
    print(f"\n{run_files(run)}")
    if validation:
        print(f"{'validation':12} {run.validation.path}")
    if beside:
        print(f"{'disturbed':12} {run.disturbed.path}")


def wrong_images(run: Run) -> list[str]:
    """Name the images of wrong decisions."""
    from anomalib_flows.results.report.reading import read_results

    return wrong_image_lines(read_results(run.path).rows(), str(run.predictions_file))


def metrics_table(metrics: dict[str, Any], disturbed: dict[str, Any] | None = None) -> str:
    """Lay out metrics: a column for each, a row for all images and for each kind of defect, and notes below.

    Metrics on the same images changed at random are rows below their counterparts.
    """
    rows = [("", *(title for title, _, _ in COLUMNS))]
    beside = disturbed or {"defects": {}}
    parts = [("all", metrics, disturbed)]
    parts += [(kind, of_kind, beside["defects"].get(kind)) for kind, of_kind in metrics["defects"].items()]
    for name, original, changed in parts:
        rows.append((name, *metric_cells(original)))
        rows += [(f"{name}, disturbed", *metric_cells(changed))] if changed else []
    width = max(len(row[0]) for row in rows)
    lines = ["  ".join([row[0].ljust(width), *(cell.rjust(12) for cell in row[1:])]) for row in rows]
    return "\n".join([*lines, *missing_notes(metrics), *metric_notes(metrics)])


def missing_notes(metrics: dict[str, Any]) -> list[str]:
    """Return why some metrics are undefined, and what to give."""
    own = metrics.get("dataset") == "folder"
    if not metrics["image"]["normal_images"]:
        advice = "Give some as --data.normal_test, or list them in the table." if own else "Add some to the dataset."
        return [f"-: there are no good test images, with which defective ones are compared. {advice}"]
    if not metrics["image"]["anomalous_images"]:
        advice = "Give some as --data.abnormal, or list them in the table." if own else "Add some to the dataset."
        return [f"-: there are no defective test images. {advice}"]
    bare = [kind for kind, of_kind in metrics["defects"].items() if not of_kind["pixel"]["masked_images"]]
    whose = "defective image" if len(bare) == len(metrics["defects"]) else f"image of {' and '.join(bare)}"
    advice = "Give masks as --data.masks, or list them in the table." if own else "Add masks to the dataset."
    return [f"-: no {whose} has a mask, which pixel metrics need. {advice}"] if bare else []


def metric_notes(metrics: dict[str, Any]) -> list[str]:
    """Return what the metrics were measured on, and how."""
    image = metrics["image"]
    counts = f"normal: {image['normal_images']}, anomalous: {image['anomalous_images']}"
    lines = [f"Images: {counts}. F1* is at the model's threshold, the score 0.5, bestF1 at the best one."]
    if metrics.get("protocol") == "paper":
        lines.append("Protocol 'paper': constants and thresholds were chosen on test images, to compare with tables.")
    return lines


def metric_cells(metrics: dict[str, Any]) -> list[str]:
    """Return the metrics of a row as text; a dash where one is undefined."""
    values = [metrics[level][key] for _, level, key in COLUMNS]
    return ["-" if value is None else f"{value:.4f}" for value in values]


def run_files(run: Run) -> str:
    """Return the paths of the files of a run."""
    named = {
        "model": run.model_file,
        "options": run.config_file,
        "metrics": run.metrics_file,
        "predictions": run.predictions_file,
        "pictures": run.images,
        "report": run.report_file,
    }
    return "\n".join(f"{name:12} {path}" for name, path in named.items() if path.exists())
