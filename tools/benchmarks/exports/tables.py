"""Tables of a comparison of exports."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from comparison.turns import spread
from exports.settings import ANOMALIB, DEFAULT, NAMES, OURS

FILES = ["model", "backbone", "exported by", "export, s", "INT8, s", "fp32, MB", "fp16, MB", "INT8, MB"]
LATENCIES = ["model", "backbone", "precision", *(f"{name}, ms" for name in NAMES)]
LATENCIES += ["anomalib / ours", "anomalib / ours, default"]
KEYS = ("export", "int8", "fp32_size", "fp16_size", "int8_size")


def tables(results: dict[str, Any]) -> Iterator[list[str]]:
    """Yield the rows of both tables with their heads, and an empty row between the tables."""
    yield from (FILES, ["---"] * len(FILES))
    for compared in results["compared"]:
        setting = compared["setting"]
        for name, found in compared["files"].items():
            yield [setting["model"], setting["backbone"], name, *(f"{found[key]:.1f}" for key in KEYS)]
    yield []
    yield from (LATENCIES, ["---"] * len(LATENCIES))
    for compared in results["compared"]:
        setting = compared["setting"]
        for run, measured in compared["runs"].items():
            precision = run.replace("device's default", f"device's default ({measured['precision']})")
            yield [setting["model"], setting["backbone"], precision, *latencies(measured["ms"])]


def latencies(times: dict[str, list[float]]) -> Iterator[str]:
    """Yield median and quartiles of each, and of the ratios of anomalib's to ours, in pairs."""
    for name in NAMES:
        yield spread(times[name]) if name in times else ""
    for name in (OURS, DEFAULT):
        pairs = zip(times.get(ANOMALIB, []), times.get(name, []), strict=False)
        ratios = [peer / ours for peer, ours in pairs]
        yield spread(ratios) if ratios else ""
