"""How results were made: training, configuration, data, licence, versions, and the commands that make them again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, get_args

from anomalib_flows.core import registry
from anomalib_flows.core.errors import InputError
from anomalib_flows.core.shell import typed
from anomalib_flows.core.types import Split
from anomalib_flows.data.datasets.base import Card
from anomalib_flows.results.report.charts import loss_chart
from anomalib_flows.results.report.reading import Results
from anomalib_flows.run.component import Component
from anomalib_flows.run.config import TrainConfig
from anomalib_flows.run.options import AugmentOptions

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
    """Return the card of a registered dataset that can be imported. A class by path is not: a report runs no code."""
    if data.class_path not in registry.names("datasets"):
        return None
    try:
        card: Card | None = registry.load("datasets", data.class_path).card
    except InputError:
        return None
    return card


def commands(results: Results) -> list[str]:
    """Return the commands that make the results again, and the next ones to type."""
    report, photos = typed("report", results.path), ("--input", "IMAGES", "--output", "FOLDER")
    if not results.run:
        model = results.facts.get("model", "MODEL")
        unlabelled, labelled = ("predict", model, *photos), ("test", model, "--data", "NAME", "--output", "FOLDER")
        return [typed(*(labelled if results.metrics else unlabelled)), report]
    run = results.run.path
    return [
        "# the same run again",
        typed("train", "-c", results.run.config_file),
        typed("test", run, *test_options(results)),
        report,
        "# next",
        typed("predict", run, *photos),
        typed("export", run),
    ]


def test_options(results: Results) -> list[str]:
    """Return the options of a test: its protocol, and how images were changed."""
    metrics = results.metrics
    if metrics is None:
        return []
    usual = {"protocol": "calibrated", "seed": 0, **disturbances(asdict(AugmentOptions()))}
    given = {
        "protocol": metrics["protocol"],
        "seed": metrics.get("seed", 0),
        **disturbances(metrics.get("disturb", {})),
    }
    changed = {name: value for name, value in given.items() if value != usual.get(name)}
    return [word for name, value in changed.items() for word in (f"--{name}", str(value).lower())]


def disturbances(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Name the options of random changes as they are typed."""
    return {f"disturb.{name}": value for name, value in changes.items()}
