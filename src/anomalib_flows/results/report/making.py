"""How results were made: training, configuration, data, licence, versions, and the commands that make them again."""

from __future__ import annotations

from shlex import quote
from typing import Any, get_args

from anomalib_flows.core import registry
from anomalib_flows.core.types import Split
from anomalib_flows.data.datasets.base import Card
from anomalib_flows.results.report.charts import loss_chart
from anomalib_flows.results.report.reading import Results
from anomalib_flows.run.component import Component
from anomalib_flows.run.config import TrainConfig

ORDER = {split: place for place, split in enumerate(get_args(Split))}
OWN = {"folder": "your own images", "synthetic": "drawn by this package, without limits"}
"""Licences of datasets without a card."""


def making(results: Results, config: TrainConfig | None) -> dict[str, Any]:
    """Return what the template shows of the making."""
    run = results.run
    return {
        "loss": loss_chart(results.losses()),
        "splits": sorted(results.splits().items(), key=lambda item: (ORDER.get(item[0][0], len(ORDER)), item[0])),
        "versions": results.versions(),
        "configuration": run.config_file.read_text(encoding="utf-8", errors="replace") if run else "",
        "licence": licence(config.data, results) if config and config.data else [],
        "commands": commands(results),
    }


def licence(data: Component, results: Results) -> list[tuple[str, str]]:
    """Return what is known about the licence of the data; a folder in the layout of a published set may be another."""
    card, name = card_of(data), data.class_path
    subset = results.metrics["subset"] if results.metrics else ""
    if card is None or not {*subset.split("+")} <= {*(card.counts or subset.split("+"))}:
        return [("Dataset", f"{name} {subset}"), ("Licence", OWN.get(name, "unknown to this package: ask the source"))]
    return [
        ("Dataset", f"{card.title}, {subset}"),
        ("Licence", card.licence),
        ("Citation", card.citation),
        ("Homepage", card.homepage),
    ]


def card_of(data: Component) -> Card | None:
    """Return the card of a registered dataset. A class by path is not imported: reading a run runs no code."""
    if data.class_path not in registry.names("datasets"):
        return None
    card: Card | None = registry.load("datasets", data.class_path).card
    return card


def commands(results: Results) -> list[str]:
    """Return the commands that make the results again, and the next ones to type."""
    path, model = quote(str(results.path)), quote(str(results.facts.get("model", "MODEL")))
    if not results.run:
        input_ = "predict" if results.metrics is None else "test"
        options = "--input IMAGES" if results.metrics is None else "--data NAME"
        return [f"anomalib-flows {input_} {model} {options} --output FOLDER", f"anomalib-flows report {path}"]
    run = quote(str(results.run.path))
    return [
        "# the same run again",
        f"anomalib-flows train -c {quote(str(results.run.config_file))}",
        f"anomalib-flows test {run}{disturbances(results)}",
        f"anomalib-flows report {path}",
        "# next",
        f"anomalib-flows predict {run} --input IMAGES --output FOLDER",
        f"anomalib-flows export {run}",
    ]


def disturbances(results: Results) -> str:
    """Return the options by which test images were changed."""
    changes = results.metrics.get("disturb", {}) if results.metrics else {}
    return "".join(f" --disturb.{name} {value}" for name, value in changes.items() if value)
