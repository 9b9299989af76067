"""The part of ``latency`` that measures the model of a run, in torch."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from anomalib_flows.benchmark.latency import Options, choose_precisions, progress
from anomalib_flows.core.errors import InputError, require
from anomalib_flows.core.timing import Spent, cores, repeat, summary
from anomalib_flows.inference.predictor import choose_device
from anomalib_flows.models import checkpoint
from anomalib_flows.models.pipeline import Pipeline
from anomalib_flows.run.directory import Run

PRECISIONS = ["f32", "bf16"]


def measure_run(run: Path, options: Options) -> dict[str, Any]:
    """Measure the model of a run, one image after the other.

    Raises:
        InputError: If the run or the device cannot be used.
    """
    name = options.device.lower()
    require(name in ("auto", "cpu", "cuda"), "--device", options.device, "cpu or cuda for a run; export it for others")
    if options.streams:
        raise InputError("--streams is for exported models (.xml) only: leave it out.")
    device, file = choose_device(name), Run.open(run).model_file
    precisions = choose_precisions(options.precisions, PRECISIONS, "torch")
    size = checkpoint.load_pipeline(file).detector.image_size
    pixels = options.images or [
        np.random.default_rng(0).integers(0, 256, (*(options.image_size or size), 3), dtype=np.uint8)
    ]
    images = [torch.from_numpy(image).permute(2, 0, 1)[None].contiguous().to(device) for image in pixels]
    with progress(len(precisions) * options.seconds) as spent:
        rows = [row(file, precision, images, options.seconds, spent) for precision in precisions]
    return {
        "image_sizes": sorted({(image.shape[-2], image.shape[-1]) for image in images}),
        "batch": 1,
        "machine": machine(device),
        "rows": rows,
        "memory": None,
    }


def row(file: Path, precision: str, images: list[Tensor], seconds: float, spent: Spent) -> dict[str, Any]:
    """Measure in one precision, and how long resizing and the encoder take of it."""
    pipeline = checkpoint.load_pipeline(file).to(images[0].device)
    if precision == "bf16":
        pipeline.bfloat16()
    with watched(pipeline.preprocess, "resize") as resizing, watched(pipeline.detector, "encode") as encoding:
        durations = list(repeat([judging(pipeline, image) for image in images], seconds, spent))
    count = len(durations)
    known = {"resize": 1000 * sum(resizing[-count:]) / count, "encoder": 1000 * sum(encoding[-count:]) / count}
    rest = 1000 * sum(durations) / count - sum(known.values())
    return {"precision": precision, **asdict(summary(durations)), "parts_ms": {**known, "rest": rest}}


def judging(pipeline: Pipeline, image: Tensor) -> Callable[[], None]:
    """Make a function that judges an image and waits for the end."""

    def judge() -> None:
        pipeline(image)
        finish()

    return judge


@contextmanager
def watched(module: nn.Module, name: str) -> Iterator[list[float]]:
    """Note how many seconds each call of a method of a module takes."""
    method, durations = getattr(module, name), []

    def watch(*args: Any) -> Any:
        finish()
        start = time.perf_counter()
        result = method(*args)
        finish()
        durations.append(time.perf_counter() - start)
        return result

    setattr(module, name, watch)
    try:
        yield durations
    finally:
        delattr(module, name)


def finish() -> None:
    """Wait until a GPU has done what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def machine(device: torch.device) -> dict[str, Any]:
    """Tell what was measured on."""
    on_gpu = device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(device) if on_gpu else processor(),
        "threads": None if on_gpu else torch.get_num_threads(),
        "cores": cores(),
        "software": f"torch {torch.__version__}",
    }


def processor() -> str:
    """Name of the processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
