"""A page that compares several runs: their metrics, their curves, and the images on which they disagree."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.outputs import require_place
from anomalib_flows.results.decisions import percent
from anomalib_flows.results.report.charts import curve_charts
from anomalib_flows.results.report.formats import Count, Row, Thumbnail
from anomalib_flows.results.report.reading import Results, read_results
from anomalib_flows.results.report.writing import DASH, write_page

SHOWN = 100
"""Greatest number of images that a comparison shows."""
Rows = dict[str, Row]
"""Rows of a table of predictions by the paths of the images."""


class Compared(NamedTuple):
    """A run in a comparison, with a name that no other one has."""

    name: str
    results: Results
    rows: Rows


class Disagreement(NamedTuple):
    """An image on which runs disagree: for each run its row and its thumbnail."""

    path: str
    truth: str
    found: list[tuple[str, Row, Thumbnail | None]]


def write_comparison(paths: Sequence[Path], output: Path) -> Path:
    """Write a page that compares the results in several folders.

    Args:
        paths: Two or more runs, or folders of results.
        output: File to write.

    Raises:
        InputError: If one of them has no results, a file is damaged, or the page cannot be written.
    """
    require_place("output", output, folder=False)
    folders = [path.resolve() for path in paths]
    if twice := [path for path, folder in zip(paths, folders, strict=True) if folders.count(folder) > 1]:
        raise InputError(f"`runs` names {twice[0]} twice: name each run once.")
    above = os.path.commonpath([folder.parent for folder in folders])
    results = [read_results(path) for path in paths]
    names = [str(folder.relative_to(above)) for folder in folders]
    rows = [{row["path"]: row for row in one.rows()} for one in results]
    runs = [Compared(*run) for run in zip(names, results, rows, strict=True)]
    return write_page(output, "comparison.html", comparison(runs))


def comparison(runs: list[Compared]) -> dict[str, Any]:
    """Return everything that the template shows."""
    common = [path for path in runs[0].rows if all(path in run.rows for run in runs)]
    differing = [path for path in common if len({run.rows[path]["label"] for run in runs}) > 1]
    tested = [(run, run.results.curves(), run.results.metrics) for run in runs]
    curves = curve_charts([(run.name, curves, metrics) for run, curves, metrics in tested if curves and metrics])
    shown = {"metrics": True, "curves": curves, "disagreement": common}
    names = {"metrics": "Metrics", "curves": "Curves", "disagreement": "Where they disagree"}
    return {
        "title": f"Comparison of {len(runs)} {'runs' if all(run.results.metrics for run in runs) else 'results'}",
        "eyebrow": "",
        "lead": ", ".join(run.name for run in runs),
        "sections": [(anchor, name) for anchor, name in names.items() if shown[anchor]],
        "remarks": about_data(runs, len(common)),
        "runs": [table_row(run, common, runs) for run in runs],
        "curves": curves,
        "common": len(common),
        "differing": len(differing),
        "wrong_in_all": wrong_in_all(runs, common),
        "disagreements": disagreements(runs, differing),
        "folder": common_folder(differing),
    }


def about_data(runs: list[Compared], common: int) -> list[str]:
    """Say what can be compared, and what cannot."""
    said = []
    data = {data_of(run.results) for run in runs if run.results.metrics}
    if len(data) > 1:
        listed = "; ".join(sorted(data))
        said.append(f"The runs were tested on different data ({listed}): metrics and curves do not rank the models.")
    if unlabelled := [run.name for run in runs if run.results.metrics is None]:
        said.append(f"The truth is unknown for {', '.join(unlabelled)}: there are no metrics and curves.")
    if not common:
        said.append("No image is in the results of all runs, so decisions cannot be compared.")
    elif any(len(run.rows) > common for run in runs):
        said.append(f"Decisions are compared on the {common} images that are in the results of all runs.")
    return said


def data_of(results: Results) -> str:
    """Name the data of a test; what was predicted has no name."""
    return f"{results.metrics['dataset']} {results.metrics['subset']}" if results.metrics else "images without truth"


def table_row(run: Compared, common: list[str], runs: list[Compared]) -> dict[str, Any]:
    """Return the row of a run in the table."""
    results, metrics = run.results, run.results.metrics
    config = results.run.config() if results.run else None
    rate = results.facts["promised_false_alarm_rate"]
    others = [other.rows for other in runs if other is not run]
    alone = [p for p in common if is_wrong(run.rows[p]) and not any(is_wrong(rows[p]) for rows in others)]
    errors = metrics["errors"] if metrics else None
    return {
        "name": run.name,
        "model": config.model.class_path if config else "/".join(Path(results.facts.get("model", "")).parts[-2:]),
        "size": " x ".join(map(str, config.image.height_width)) if config else "",
        "data": data_of(results),
        "metrics": metrics,
        "promised": DASH if rate is None else f"{percent(rate)} %",
        "alarms": fraction(errors["false_alarms"]) if errors else DASH,
        "missed": fraction(errors["missed"]) if errors else DASH,
        "alone": len(alone) if common and metrics else DASH,
    }


def wrong_in_all(runs: list[Compared], common: list[str]) -> int | None:
    """Count the images that are wrong in all runs; None if the truth is unknown."""
    if not any(run.results.metrics for run in runs):
        return None
    return sum(all(is_wrong(run.rows[path]) for run in runs) for path in common)


def fraction(counted: Count) -> str:
    """Write a count with its total."""
    return f"{counted['count']} of {counted['of']}" if counted["of"] else DASH


def is_wrong(row: Row) -> bool:
    """Return whether the decision on an image is known to be wrong."""
    return bool(row["truth"]) and row["truth"] != row["label"]


def disagreements(runs: list[Compared], differing: list[str]) -> list[Disagreement]:
    """Return the images on which runs disagree most, with their thumbnails."""

    def spread(path: str) -> float:
        places = [run.results.position(run.rows[path]) for run in runs]
        return min(places) - max(places)

    shown = {path: Disagreement(path, truth_of(runs, path), []) for path in sorted(differing, key=spread)[:SHOWN]}
    for run in runs:
        for row, thumbnail in run.results.rows_with_thumbnails():
            if one := shown.get(row["path"]):
                one.found.append((run.name, row, thumbnail))
    return list(shown.values())


def common_folder(paths: list[str]) -> str:
    """Return the folder that holds all images, with the separator at its end; empty if there is none."""
    common = os.path.commonprefix(paths)  # noqa: RUF071 (a part of a name is cut off)
    return common[: max(common.rfind("/"), common.rfind("\\")) + 1]


def truth_of(runs: list[Compared], path: str) -> str:
    """Return the kind of defect of an image, as far as a run knows it."""
    return next((run.rows[path]["defect"] for run in runs if run.rows[path]["defect"]), "")
