"""Images per second of training steps, memory, the share of the device's matrix rate, and the latency of an image."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from itertools import pairwise
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from comparison.workers import multiply_adds
from cuda_checks.commands import train
from cuda_checks.place import Place, synchronize
from cuda_checks.processes import Row

WARM_UP = 3


class Steps:
    """Training steps of a detector on a batch of noise."""

    def __init__(self, place: Place, detector: Any, precision: str, *, cached: bool, images: int = 0) -> None:
        from anomalib_flows.models.pipeline import Pipeline
        from anomalib_flows.training.graphs import GraphedLoss

        self.device, self.dtype = torch.device(place.device), getattr(torch, precision)
        self.pipeline = Pipeline(detector).to(self.device).train()
        self.detector, self.loss = detector, GraphedLoss(detector)  # as `train` does
        self.optimizer = detector.optimizer()
        size = place.scale.size
        self.images = 255 * torch.rand(images or place.scale.batch, 3, size, size)
        self.features = [f.cpu() for f in self.encode()] if cached else None

    def mixed(self) -> Any:
        """Return the autocast of a training in this precision."""
        return torch.autocast(self.device.type, self.dtype, self.dtype != torch.float32, cache_enabled=False)

    def encode(self) -> list[Tensor]:
        """Return the features of the images, which come from the CPU."""
        from anomalib_flows.core.cuda import to_device

        with torch.no_grad(), self.mixed():
            return self.pipeline.features(to_device(self.images, self.device))

    def counted(self) -> None:
        """Train without a graph, whose operations could not be counted."""
        graphed, self.loss = self.loss, self.detector.loss
        self.train()
        self.loss = graphed

    def train(self) -> None:
        """Train on the batch, from images or from features that come from the CPU."""
        from anomalib_flows.core.cuda import to_device

        given = self.features
        features = self.encode() if given is None else [to_device(f, self.device) for f in given]
        for batch in self.detector.training_batches([f.float() for f in features]):
            with self.mixed():
                loss = self.loss(batch)
            loss.backward()
            self.optimizer.step()
            self.optimizer.zero_grad()


def images_per_second(place: Place, call: Callable[[], Any], images: int) -> float:
    """Call repeatedly for some seconds, and return the images per second; nothing waits in between.

    Args:
        place: The device.
        call: What is measured.
        images: Number of images of a call.
    """
    for _ in range(WARM_UP):
        call()
    synchronize(place.device)
    calls, began = 0, time.perf_counter()
    while not calls or time.perf_counter() - began < place.scale.seconds:
        call()
        calls += 1
        if calls % 8 == 0:  # or calls would be given much faster than they are done
            synchronize(place.device)
    synchronize(place.device)
    return calls * images / (time.perf_counter() - began)


def matrix_rate(place: Place, precision: str) -> float:
    """Return the multiply-adds per second of products of large matrices, in units of 1e9."""
    side, device = place.scale.side, place.device
    a, b = torch.randn(2, side, side, device=device, dtype=getattr(torch, precision)).unbind()
    rates = []
    for _ in range(10):
        synchronize(device)
        began = time.perf_counter()
        a @ b
        synchronize(device)
        rates.append(side**3 / 1e9 / (time.perf_counter() - began))
    return max(rates)


def training_speed(place: Place, model: str, backbone: str) -> list[Row]:
    """Measure training steps in two precisions, with the encoder and on cached features."""
    from anomalib_flows.core.cuda import full_float32

    rows = []
    for precision in ("float32", "bfloat16"):
        with full_float32():
            rate = matrix_rate(place, precision)
            for cached in (False, True):
                steps = Steps(place, place.detector(model, backbone), precision, cached=cached)
                rows.append({"model": model, "encoder": backbone, "precision": precision, "cached": cached})
                rows[-1] |= measured(place, steps, rate)
    return rows


def measured(place: Place, steps: Steps, rate: float) -> Row:
    """Return speed, memory and the share of the matrix rate of training steps."""
    work = multiply_adds(steps.counted) / len(steps.images)
    if place.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    speed = images_per_second(place, steps.train, len(steps.images))
    peak = torch.cuda.max_memory_allocated() / 2**20 if place.device == "cuda" else None
    return {"images/s": speed, "peak MiB": peak, "matrix rate, 1e9/s": rate, "share of it": speed * work / rate}


def variants(place: Place, model: str, backbone: str) -> list[Row]:
    """Measure what may or may not pay: graphs, our own gradients, and cuDNN's choice by trial."""
    rows = []
    names = ["as it is", "without a graph", "gradients of autograd", "cudnn.benchmark"]
    for name in names:
        steps = Steps(place, place.detector(model, backbone), "bfloat16", cached=True)
        if name == "without a graph":
            steps.loss = steps.detector.loss
        torch.backends.cudnn.benchmark = name == "cudnn.benchmark"
        with without_own_gradients() if name == "gradients of autograd" else nullcontext():
            speed = images_per_second(place, steps.train, len(steps.images))
        rows.append({"model": model, "encoder": backbone, "variant": name, "images/s": speed})
    return rows


def without_own_gradients() -> Any:
    """Let autograd differentiate couplings, scalings and permutations."""
    stack = ExitStack()
    for flow in ("coupling", "scaling", "permutation"):
        stack.enter_context(patch(f"anomalib_flows.flows.{flow}.own_gradient", lambda _: False))
    return stack


def command_speed(place: Place, model: str) -> list[Row]:
    """Measure epochs of `train` after the first: from features that are read, and with images changed at random."""
    from anomalib_flows.inference.features import FeatureLoader

    rows, iterate, augmented = (
        [],
        FeatureLoader.__iter__,
        ["--augment.rotate=10", "--augment.flip=true", "--trainer.cache=none"],
    )
    for name, words in {"features read": [], "augmented": augmented}.items():
        seen: list[tuple[float, int]] = []  # when an epoch began, and its images

        def begun(loader: Any, seen: list[tuple[float, int]] = seen) -> Any:
            if loader.images.seed is not None:  # a training's, not that of a single pass
                seen.append((time.perf_counter(), len(loader.images.samples)))
            return iterate(loader)

        with patch.object(FeatureLoader, "__iter__", begun):
            train(place, f"speed-{model}-{name[:3]}", model, *words, f"--trainer.max_epochs={2 + place.scale.epochs}")
        speeds = [images / (after - before) for (before, images), (after, _) in pairwise(seen[1:])]
        row = {"model": model, "encoder": place.scale.backbone, "images": name}
        rows.append(row | {"images/s": statistics.median(speeds)})
    return rows


def latency(place: Place, model: str, backbone: str) -> list[Row]:
    """Measure one image from pixels to map, and on a GPU the same as a CUDA graph."""
    from anomalib_flows.models.pipeline import Pipeline

    pipeline = Pipeline(place.detector(model, backbone)).to(place.device).eval()
    image = 255 * torch.rand(1, 3, place.scale.size, place.scale.size, device=place.device)
    rows = []
    with torch.inference_mode():
        calls: dict[str, Callable[[], Any]] = {"as it is": lambda: pipeline.maps(image)}
        if place.device == "cuda":
            calls["CUDA graph"] = graph_of(lambda: pipeline.maps(image))
        for name, call in calls.items():
            rows.append({"model": model, "encoder": backbone, "how": name, "ms": milliseconds(place, call)})
    return rows


def graph_of(call: Callable[[], Any]) -> Callable[[], Any]:
    """Record a call as a CUDA graph."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UP):
            call()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph.replay


def milliseconds(place: Place, call: Callable[[], Any]) -> float:
    """Return the median duration of single calls, each waited for."""
    durations = []
    for number in range(WARM_UP + 10 * (1 + 9 * (place.device == "cuda"))):
        synchronize(place.device)
        began = time.perf_counter()
        call()
        synchronize(place.device)
        if number >= WARM_UP:
            durations.append(1000 * (time.perf_counter() - began))
    return statistics.median(durations)
