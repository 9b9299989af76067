"""Latency, throughput and memory of an exported model."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from anomalib_flows.benchmark.latency import LatencyOptions, progress
from anomalib_flows.core.timing import Elapsed
from anomalib_flows.runtime import measuring
from anomalib_flows.runtime.network import inference_errors

MEASUREMENTS = 3
"""Measurements for each precision: single images, several at the same time, and the parts of the model."""


def measure_exported(model: Path, options: LatencyOptions) -> dict[str, Any]:
    """Measure an exported model."""
    subject = measuring.open_subject(model, options.device, options.read_images(), options.noise_size)
    with inference_errors(model, subject.device):
        precisions = options.choose_precisions(subject.precisions, subject.device)
        used = measuring.memory(model, subject.device, precisions[0], subject.image_sizes[0])
        with progress(MEASUREMENTS * len(precisions) * options.seconds) as elapsed:
            rows = [measure_precision(subject, precision, options, elapsed) for precision in precisions]
        machine = measuring.openvino_machine(subject, precisions[0])
    return {
        "image_sizes": subject.image_sizes,
        "batch": subject.batch,
        "machine": machine,
        "rows": rows,
        "memory": asdict(used) if used else None,
    }


def measure_precision(
    subject: measuring.Subject, precision: str, options: LatencyOptions, elapsed: Elapsed
) -> dict[str, Any]:
    """Measure an exported model in one precision."""
    single = measuring.single_latency(subject, precision, options.seconds, elapsed)
    several = measuring.throughput(subject, precision, options.seconds, elapsed, options.stream_count)
    parts = measuring.parts(subject, precision, options.seconds, elapsed)
    return {"precision": precision, **asdict(single), **asdict(several), "parts_ms": parts}
