"""The part of ``latency`` that measures an exported model."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from anomalib_flows.commands.latency import Wish, choose_precisions, progress
from anomalib_flows.runtime import measuring
from anomalib_flows.runtime.memory import memory
from anomalib_flows.runtime.network import explained
from anomalib_flows.timing import Spent

MEASUREMENTS = 3
"""For each precision: one image after the other, several at the same time, and the parts."""


def measure_exported(model: Path, wish: Wish) -> dict[str, Any]:
    """Measure an exported model.

    Raises:
        InputError: If the model or the device cannot be used.
    """
    subject = measuring.open_subject(model, wish.device, wish.images, wish.image_size)
    with explained(model, subject.device):
        precisions = choose_precisions(wish.precisions, subject.precisions, subject.device)
        weighed = memory(model, subject.device, precisions[0], subject.image_sizes[0])
        with progress(MEASUREMENTS * len(precisions) * wish.seconds) as spent:
            rows = [row(subject, precision, wish, spent) for precision in precisions]
        machine = measuring.machine(subject, precisions[0])
    return {
        "image_sizes": subject.image_sizes,
        "batch": subject.batch,
        "machine": machine,
        "rows": rows,
        "memory": asdict(weighed) if weighed else None,
    }


def row(subject: measuring.Subject, precision: str, wish: Wish, spent: Spent) -> dict[str, Any]:
    """Measure in one precision."""
    one_by_one = measuring.latency(subject, precision, wish.seconds, spent)
    together = measuring.throughput(subject, precision, wish.seconds, spent, wish.streams)
    parts = measuring.parts(subject, precision, wish.seconds, spent)
    return {"precision": precision, **asdict(one_by_one), **asdict(together), "parts_ms": parts}
