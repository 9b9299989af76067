"""The report of one run: a page that holds everything it shows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from anomalib_flows.core.outputs import require_place
from anomalib_flows.core.shell import typed
from anomalib_flows.core.types import ANOMALOUS, LABELS, ImageSize
from anomalib_flows.results.decisions import percent, promise
from anomalib_flows.results.report.charts import Histogram, curve_charts
from anomalib_flows.results.report.formats import Count, Metrics
from anomalib_flows.results.report.making import making
from anomalib_flows.results.report.reading import Results, read_results
from anomalib_flows.results.report.trust import conclusion, remarks, trained_on
from anomalib_flows.results.report.writing import DASH, write_page
from anomalib_flows.run.config import TrainConfig

SECTIONS = {
    "summary": "Summary",
    "metrics": "Metrics",
    "curves": "Curves",
    "threshold": "Threshold",
    "images": "Images",
    "making": "How it was made",
}
SOURCES = {"false-alarm-rate": "the false-alarm rate", "hand": "hand", "defects": "photos of known defects"}
"""What set a threshold."""


class Card(NamedTuple):
    """A key figure."""

    name: str
    value: str
    note: str


class Overview(NamedTuple):
    """What one pass over all images gives; scores are those of each true label."""

    scores: dict[str, list[float]]
    images: int
    anomalous: int
    pictured: int
    size: ImageSize | None


def write_report(path: Path, output: Path | None = None) -> Path:
    """Write the report of the results in a folder: a run, its validation, or what 'predict' wrote.

    Args:
        path: The folder.
        output: File to write; ``report.html`` in the folder by default.

    Raises:
        InputError: If there are no results, a file is damaged, or the page cannot be written.
    """
    if output:
        require_place("output", output, folder=False)
    results = read_results(path)
    return write_page(output or results.files.report_file, "report.html", report(results))


def report(results: Results) -> dict[str, Any]:
    """Return everything that the template shows; images are read while it is written."""
    metrics, config = results.metrics, results.run.config() if results.run else None
    seen, curves = overview(results), results.curves()
    histogram = Histogram(seen.scores)
    summary, others = conclusion(remarks(results, config, seen.scores, seen.size))
    charts = curve_charts([("", curves, metrics)]) if curves and metrics else []
    shown = {"metrics": metrics, "curves": charts} | dict.fromkeys(("summary", "threshold", "images", "making"), True)
    return {
        "title": title(results, config),
        "eyebrow": f"{results.name} · {made_at(results)}",
        "lead": trained_on(results),
        "sections": [(anchor, name) for anchor, name in SECTIONS.items() if shown[anchor]],
        "conclusion": summary,
        "remarks": others,
        "cards": test_cards(metrics) if metrics else prediction_cards(results, seen),
        "decision": decision(results, config, seen),
        "metrics": metrics,
        "kinds": kinds(metrics) if metrics else [],
        "curves": charts,
        "histogram": histogram,
        "thumbnails_note": about_thumbnails(seen),
        "calibrate": calibrate_command(results),
        "facts": {"labelled": bool(metrics), "low": histogram.low, "high": histogram.high},
        "rows": row_lines(results),
        "thumbnails": thumbnail_lines(results),
        **making(results, config),
    }


def overview(results: Results) -> Overview:
    """Read all images once, which finds damaged files before anything is written."""
    scores: dict[str, list[float]] = defaultdict(list)
    anomalous, pictured, size = 0, 0, None
    for row, thumbnail in results.rows_with_thumbnails():
        scores[row["truth"] or "unknown"].append(results.position(row))
        anomalous += row["label"] == LABELS[ANOMALOUS]
        if thumbnail:
            pictured, size = pictured + 1, size or thumbnail["size"]
    return Overview(dict(scores), sum(map(len, scores.values())), anomalous, pictured, size)


def row_lines(results: Results) -> Iterator[Markup]:
    """Return the values of each image as JSON."""
    separator = Markup()
    for row in results.rows():
        values = (row["path"], results.position(row), row["score"], row["p_value"])
        labels = [None if not word else int(word == LABELS[ANOMALOUS]) for word in (row["label"], row["truth"])]
        yield separator + htmlsafe_json_dumps([*values, *labels, row["defect"]])
        separator = Markup(",\n")


def thumbnail_lines(results: Results) -> Iterator[tuple[int, Markup]]:
    """Return the number of each image that has a thumbnail, and its pictures as JSON."""
    for number, (_, thumbnail) in enumerate(results.rows_with_thumbnails()):
        if thumbnail:
            yield number, htmlsafe_json_dumps(thumbnail)


def title(results: Results, config: TrainConfig | None) -> str:
    """Name model and product."""
    model = config.model.class_path if config else Path(results.facts.get("model", "model")).name
    return f"{model} on {results.metrics['subset']}" if results.metrics else f"Predictions of {model}"


def made_at(results: Results) -> str:
    """Return when the results were made."""
    seconds = results.files.predictions_file.stat().st_mtime
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M %Z")


def test_cards(metrics: Metrics) -> list[Card]:
    """Return the key figures of a test."""
    errors, rate = metrics["errors"], metrics["promised_false_alarm_rate"]
    promised = "no rate promised" if rate is None else f"promised {percent(rate)} %"
    image, pixel = metrics["image"], metrics["pixel"]
    masked = f"{pixel['masked_images']} images with masks"
    areas = (
        ("Image AUROC", image["auroc"], "good against defective images"),
        ("Pixel AUROC", pixel["auroc"], masked),
        ("Pixel AUPRO", pixel["aupro"], masked),
    )
    return [
        counted_card("False alarms", errors["false_alarms"], "good images", promised),
        counted_card("Missed defects", errors["missed"], "defective images", ""),
        *(Card(name, DASH if value is None else f"{value:.3f}", note) for name, value, note in areas),
    ]


def counted_card(name: str, counted: Count, of: str, note: str) -> Card:
    """Return a count with its rate as a key figure."""
    if not counted["of"]:
        return Card(name, "unknown", f"there are no {of}")
    notes = [f"{percent(counted['count'] / counted['of'])} % of {of}", note]
    return Card(name, f"{counted['count']} of {counted['of']}", ", ".join(filter(None, notes)))


def prediction_cards(results: Results, seen: Overview) -> list[Card]:
    """Return the key figures of images whose truth is unknown."""
    rate = results.facts["promised_false_alarm_rate"]
    return [
        Card("Images", f"{seen.images}", "of unknown truth"),
        Card("Called anomalous", f"{seen.anomalous}", f"{percent(seen.anomalous / max(seen.images, 1))} % of all"),
        Card("Promised false alarms", "none" if rate is None else f"{percent(rate)} %", "of good images"),
    ]


def decision(results: Results, config: TrainConfig | None, seen: Overview) -> list[tuple[str, str]]:
    """Return what decides, and what it promises."""
    facts, count = results.facts, results.facts.get("calibration_images")
    paper = facts["protocol"] == "paper"
    rate = facts["promised_false_alarm_rate"]
    source = "the test images" if paper else SOURCES.get(facts["threshold_source"], facts["threshold_source"])
    said = [
        ("Threshold", f"score 0.5, which is {facts['image_scale']['threshold']:.5g} before normalisation"),
        ("Set by", source),
        ("Promised", promise(facts) if rate is None else f"at most {percent(rate)} % false alarms"),
    ]
    if config and not results.former_threshold():
        said.append(("Asked for", f"{percent(config.false_alarm_rate)} % false alarms"))
    if count and not paper:
        said.append(("Attainable", f"{percent(1 / (count + 1))} %, with {count} held-out good images"))
    said.append(("Called anomalous", f"{seen.anomalous} of {seen.images} images"))
    return said


def kinds(metrics: Metrics) -> list[tuple[str, Any, Count | None]]:
    """Return the rows of the table of metrics: name, metrics and missed defects."""
    errors = metrics["errors"]
    rows = [(kind, part, errors["missed_of_kind"].get(kind)) for kind, part in metrics["defects"].items()]
    return [("all", metrics, errors["missed"]), *rows]


def about_thumbnails(seen: Overview) -> str:
    """Say how many images have no picture."""
    if missing := seen.images - seen.pictured:
        return f"{missing} of {seen.images} images have no picture here, to bound the size of the page."
    return ""


def calibrate_command(results: Results) -> str:
    """Return the command that sets a threshold, where the scale of the slider is its scale."""
    own = results.run is not None and results.run.path == results.path
    rate = results.facts["protocol"] == "calibrated" and results.facts["threshold_source"] == "false-alarm-rate"
    current = own and rate and not results.former_threshold()
    return typed("calibrate", results.path, "--threshold") if current else ""
