"""Published results, with their sources."""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

AVERAGE = "average"
FILE = Path(__file__).with_name("published.csv")
COLUMNS = {"image_auroc": "image_auroc", "image_f1_max": "image_f1", "pixel_auroc": "pixel_auroc"} | {
    "pixel_aupro": "pixel_aupro"
}
"""Columns of the file, by the names of our metrics."""


@dataclass(frozen=True)
class Source:
    """Where a column of published results is from.

    Args:
        method: Name of the method.
        backbone: Its encoder.
        source: Paper or page.
        selection: How the epoch was chosen; often on the test images.
    """

    method: str
    backbone: str
    source: str
    selection: str

    def __str__(self) -> str:
        """Describe the source."""
        encoder = f", {self.backbone}" if self.backbone else ""
        return f"{self.method}{encoder}: {self.source}; epoch: {self.selection or 'not stated'}"


@cache
def published() -> dict[tuple[str, Source], dict[str, dict[str, float]]]:
    """Return the published values by dataset and source, then category, then metric."""
    found: dict[tuple[str, Source], dict[str, dict[str, float]]] = {}
    with FILE.open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            page = re.sub(r" \(input \d+ px\)", "", row["source"])  # of one table, whose sizes differ by category
            source = Source(row["method"], row["backbone"], page, row["selection"])
            values = {ours: float(row[theirs]) for ours, theirs in COLUMNS.items() if row[theirs]}
            found.setdefault((row["dataset"], source), {})[row["category"]] = values
    return found


def of_dataset(
    dataset: str, methods: set[str], chosen: Collection[str], metric: str
) -> Iterator[tuple[Source, dict[str, float]]]:
    """Yield sources that have a metric of some of the chosen categories, for some methods, with its values.

    The average is among them only where it is over the chosen categories.
    """
    for (name, source), categories in published().items():
        values = {category: metrics[metric] for category, metrics in categories.items() if metric in metrics}
        average = {AVERAGE: values.pop(AVERAGE)} if AVERAGE in values else {}
        if name == dataset and source.method.lower() in methods and values.keys() & set(chosen):
            yield source, values | (average if values.keys() == set(chosen) else {})
