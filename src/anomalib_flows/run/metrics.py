"""Read the metrics of a run, and find damaged ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.parsing import parse_json, read_text

LARGEST_METRICS = 16 * 2**20
"""Bytes of metrics.json."""
READ = {
    "image": {"auroc", "average_precision", "f1", "f1_max", "threshold", "normal_images", "anomalous_images"},
    "pixel": {"auroc", "average_precision", "aupro", "f1", "f1_max", "threshold", "masked_images"},
}
"""Metrics that commands read."""


def read_metrics(file: Path) -> dict[str, Any]:
    """Read metrics.json.

    Raises:
        InputError: If it is damaged.
    """
    try:
        found = parse_json(read_text(file, "The file of metrics", LARGEST_METRICS))
        require_metrics(found)
    except ValueError as error:
        raise InputError(f"{file} is damaged: test again, which writes it.") from error
    return dict(found)


def require_metrics(found: Any) -> None:
    """Raise a ValueError unless metrics have the parts that other commands read."""
    if not isinstance(found, dict) or not isinstance(found.get("defects"), dict):
        raise ValueError("no metrics")  # noqa: TRY004
    for part in (found, *found["defects"].values()):
        for level, names in READ.items():
            values = part.get(level) if isinstance(part, dict) else None
            if not (isinstance(values, dict) and names <= values.keys()):
                raise ValueError(f"no metrics of {level}s")
            if not all(is_number_or_none(value) for value in values.values()):
                raise ValueError(f"no metrics of {level}s")


def is_number_or_none(value: Any) -> bool:
    """Return whether a value is a number, or None for a metric that is undefined."""
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))
