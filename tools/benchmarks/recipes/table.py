"""Results of recipes: lines of JSON, and their table."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

from recipes.scores import SCORES

Line = dict[str, Any]
"""One evaluation of one training."""
KEY = ("data", "model", "backbone", "recipe", "seed", "of")
"""Fields that identify a training."""
COLUMNS = (
    "recipe",
    "score",
    "seeds",
    "image / pixel AUROC after epochs",
    "deviation at the last",
    "held-out loss",
    "CPU s",
)


def read(file: Path) -> list[Line]:
    """Read lines of JSON; return none if there is no file."""
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def key_of(line: Line) -> tuple[Any, ...]:
    """Return the identity of a training."""
    return tuple(line[name] for name in KEY)


def table(lines: list[Line]) -> str:
    """Return means over seeds as a Markdown table, with a row for each recipe and score."""
    rows = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    groups: dict[tuple[str, int], list[Line]] = {}
    for line in lines:
        groups.setdefault((line["recipe"], line["of"]), []).append(line)
    for (recipe, _), of_recipe in groups.items():
        rows += [row(recipe, score, of_recipe) for score in SCORES if score in of_recipe[0]]
    return "\n".join(rows)


def row(recipe: str, score: str, lines: list[Line], percent: str = "image_1") -> str:
    """Return the row of a recipe and a score."""
    epochs = sorted({line["epoch"] for line in lines})
    at = {e: [line for line in lines if line["epoch"] == e] for e in epochs}
    cells = [f"{e}: {mean(at[e], score, percent):.3f} / {mean(at[e], score, 'pixel'):.3f}" for e in epochs]
    last = at[epochs[-1]]
    values = [line[score][percent] for line in last]
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    held = " ".join(f"{statistics.fmean(line['held_out'] for line in at[e]):.4g}" for e in epochs)
    seconds = statistics.fmean(line.get("cpu_s", 0) for line in last)
    return f"| {recipe} | {score} | {len(last)} | {', '.join(cells)} | {deviation:.3f} | {held} | {seconds:.0f} |"


def mean(lines: list[Line], score: str, metric: str) -> float:
    """Return the mean of a metric over seeds."""
    return statistics.fmean(line[score][metric] for line in lines)
