"""Settings of a comparison of exports."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KERNELS = [3, 1]
"""Kernel sizes of FastFlow's steps, in turn: anomalib's default."""
OURS, DEFAULT, ANOMALIB = NAMES = ("ours", "ours, default", "anomalib")
RUNS: dict[str, tuple[str, dict[str, Any]]] = {
    "f32": ("model", {"INFERENCE_PRECISION_HINT": "f32"}),
    "device's default": ("model", {}),
    "INT8, rest f32": ("int8", {"INFERENCE_PRECISION_HINT": "f32"}),
    "INT8, rest device's default": ("int8", {}),
}
"""Rows of the table of latencies: name of the file, and properties of OpenVINO."""


@dataclass(frozen=True)
class Setting:
    """Model, encoder, sizes and threads, the same for all exports.

    Args:
        model: ``fastflow`` or ``cflow``.
        backbone: Name of the encoder.
        size: Height and width of the images.
        images: Images for quantisation.
        threads: Threads of each process.
        repeats: Measured inferences.
    """

    model: str
    backbone: str
    size: int
    images: int
    threads: int
    repeats: int


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """Return the result of a call and its seconds."""
    begin = time.perf_counter()
    return work(), time.perf_counter() - begin


def megabytes(path: Path) -> float:
    """Return the size on disk of a graph with its weights."""
    return (path.stat().st_size + path.with_suffix(".bin").stat().st_size) / 1e6
