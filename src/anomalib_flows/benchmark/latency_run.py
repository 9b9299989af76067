"""Latency of the model of a run, in torch."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from anomalib_flows.benchmark.latency import LatencyOptions, progress
from anomalib_flows.core.errors import InputError, require
from anomalib_flows.core.timing import Elapsed, cores, repeat, summary
from anomalib_flows.core.types import ImageSize
from anomalib_flows.inference.runner import choose_device
from anomalib_flows.models.checkpoint import load_pipeline
from anomalib_flows.models.pipeline import Pipeline
from anomalib_flows.run.directory import Run

PRECISIONS = ["f32", "bf16"]


def measure_run(model: Path, options: LatencyOptions, trust: bool) -> dict[str, Any]:
    """Measure the model of a run, one image after the other."""
    name = options.device.lower()
    require(name in ("auto", "cpu", "cuda"), "device", options.device, "cpu or cuda for a run: export it for others")
    if options.stream_count:
        raise InputError("`streams` is for exported models (.xml) only: leave it out.")
    device, file = choose_device(name), Run.open(model).model_file
    precisions = options.choose_precisions(PRECISIONS, "torch")
    images = [image.to(device) for image in input_images(options, load_pipeline(file, trust=trust).preprocess.size)]
    rows = []
    with progress(len(precisions) * options.seconds) as elapsed:
        for precision in precisions:
            pipeline = load_pipeline(file, trust=trust).to(device)
            pipeline = pipeline.bfloat16() if precision == "bf16" else pipeline
            rows.append({"precision": precision, **time_pipeline(pipeline, images, options.seconds, elapsed)})
    return {
        "image_sizes": sorted({(image.shape[-2], image.shape[-1]) for image in images}),
        "batch": 1,
        "machine": torch_machine(device),
        "rows": rows,
        "memory": None,
    }


def input_images(options: LatencyOptions, default: ImageSize) -> list[Tensor]:
    """Return the images to measure with, of shape (1, 3, h, w); noise if the options name none."""
    shape = (*(options.noise_size or default), 3)
    pixels = options.read_images() or [np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)]
    return [torch.from_numpy(image).permute(2, 0, 1)[None].contiguous() for image in pixels]


def time_pipeline(pipeline: Pipeline, images: list[Tensor], seconds: float, elapsed: Elapsed) -> dict[str, Any]:
    """Time a pipeline, and the share of resizing and the encoder."""
    with watched(pipeline.preprocess, "resize") as resizing, watched(pipeline.detector, "encode") as encoding:
        durations = list(repeat([partial(predict_and_wait, pipeline, image) for image in images], seconds, elapsed))
    count = len(durations)
    known = {"resize": 1000 * sum(resizing[-count:]) / count, "encoder": 1000 * sum(encoding[-count:]) / count}
    rest = 1000 * sum(durations) / count - sum(known.values())
    return {**asdict(summary(durations)), "parts_ms": {**known, "rest": rest}}


def predict_and_wait(pipeline: Pipeline, image: Tensor) -> None:
    """Predict for an image and wait for the result."""
    pipeline(image)
    synchronize()


@contextmanager
def watched(module: nn.Module, name: str) -> Iterator[list[float]]:
    """Record the duration of each call of a method of a module, in seconds."""
    method, durations = getattr(module, name), []

    def watch(*args: Any) -> Any:
        synchronize()
        start = time.perf_counter()
        result = method(*args)
        synchronize()
        durations.append(time.perf_counter() - start)
        return result

    setattr(module, name, watch)
    try:
        yield durations
    finally:
        delattr(module, name)


def synchronize() -> None:
    """Wait until a GPU has completed its work."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def torch_machine(device: torch.device) -> dict[str, Any]:
    """Describe the machine: processor, number of threads and cores, version of torch."""
    on_gpu = device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(device) if on_gpu else processor(),
        "threads": None if on_gpu else torch.get_num_threads(),
        "cores": cores(),
        "software": f"torch {torch.__version__}",
    }


def processor() -> str:
    """Return the name of the processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
