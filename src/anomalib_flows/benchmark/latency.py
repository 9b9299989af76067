"""Measure the latency of a run or of an exported model on this machine."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from anomalib_flows.benchmark.latency_options import LatencyOptions
from anomalib_flows.core.files import atomic
from anomalib_flows.run.directory import is_exported

DEFAULTS = LatencyOptions()


def measure_latency(model: Path, options: LatencyOptions = DEFAULTS) -> dict[str, Any]:
    """Measure latency, throughput, the time of each part, and memory.

    Times are from an image in memory to results in memory, without reading and decoding files. The model of a run is
    measured in torch, one image after the other.

    Args:
        model: Run directory, or exported model (.xml).
        options: How to measure.

    Returns:
        The measurements, which ``output`` receives as JSON.

    Raises:
        InputError: If the model is invalid, the device is not available, or an option is invalid.
    """
    load = load_average()
    measured = {"model": str(model), **measure(model, options), "load": load}
    if options.output:
        with atomic(options.output) as temporary:
            temporary.write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")
    return measured


def measure(model: Path, options: LatencyOptions) -> dict[str, Any]:
    """Measure a run or an exported model; only the libraries that it needs are imported."""
    if is_exported(model):
        from anomalib_flows.benchmark.latency_exported import measure_exported

        return measure_exported(model, options)
    from anomalib_flows.benchmark.latency_run import measure_run

    return measure_run(model, options)


def load_average() -> float | None:
    """Return the mean number of busy cores in the last minute; None where the system does not report it."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None
