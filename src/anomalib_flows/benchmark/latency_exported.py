"""The part of ``latency`` that measures an exported model."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from anomalib_flows.benchmark.latency import Options, choose_precisions, progress
from anomalib_flows.core.timing import Spent
from anomalib_flows.runtime import measuring
from anomalib_flows.runtime.memory import memory
from anomalib_flows.runtime.network import explained

MEASUREMENTS = 3
"""For each precision: one image after the other, several at the same time, and the parts."""


def measure_exported(model: Path, options: Options) -> dict[str, Any]:
    """Measure an exported model.

    Raises:
        InputError: If the model or the device cannot be used.
    """
    subject = measuring.open_subject(model, options.device, options.images, options.image_size)
    with explained(model, subject.device):
        precisions = choose_precisions(options.precisions, subject.precisions, subject.device)
        used = memory(model, subject.device, precisions[0], subject.image_sizes[0])
        with progress(MEASUREMENTS * len(precisions) * options.seconds) as spent:
            rows = [row(subject, precision, options, spent) for precision in precisions]
        machine = measuring.machine(subject, precisions[0])
    return {
        "image_sizes": subject.image_sizes,
        "batch": subject.batch,
        "machine": machine,
        "rows": rows,
        "memory": asdict(used) if used else None,
    }


def row(subject: measuring.Subject, precision: str, options: Options, spent: Spent) -> dict[str, Any]:
    """Measure in one precision."""
    one_by_one = measuring.latency(subject, precision, options.seconds, spent)
    together = measuring.throughput(subject, precision, options.seconds, spent, options.streams)
    parts = measuring.parts(subject, precision, options.seconds, spent)
    return {"precision": precision, **asdict(one_by_one), **asdict(together), "parts_ms": parts}
