"""Latency, throughput and memory of an exported model on this machine, and the time that each of its parts takes."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import cycle
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov

from anomalib_flows.core.images import Pixels
from anomalib_flows.core.timing import MIN_CALLS, WARM_UP, Elapsed, Times, cores, repeat, timed
from anomalib_flows.core.types import ImageSize
from anomalib_flows.runtime.device import require_device
from anomalib_flows.runtime.model_card import ModelCard, read_card
from anomalib_flows.runtime.network import compile_network, read_network
from anomalib_flows.runtime.ports import ANY, PARTS, ImageInput, part_of, spatial_size

PRECISIONS = {"FP32": "f32", "BF16": "bf16", "FP16": "f16"}
"""Names of inference precisions, by their names among OpenVINO's ``OPTIMIZATION_CAPABILITIES``."""
STATUS = Path("/proc/self/status")
"""File with the memory of a process, on Linux."""


@dataclass(frozen=True)
class Throughput:
    """Throughput of a device with several requests in progress, of which ``streams`` are computed at the same time."""

    images_per_second: float
    requests: int
    streams: int | None  # None if the device does not report it


@dataclass(frozen=True)
class Memory:
    """Mebibytes of a new process that loads a model and runs it a few times.

    Args:
        peak_mib: Peak memory of the process.
        model_mib: Memory for reading, compiling and the first inferences, without that of OpenVINO itself.
    """

    peak_mib: float
    model_mib: float


@dataclass(frozen=True)
class Subject:
    """Model to measure, and the images to measure it with, one tensor for each; the device is in upper case."""

    core: ov.Core
    network: ov.Model
    card: ModelCard
    path: Path
    device: str
    tensors: list[ov.Tensor]

    @property
    def batch(self) -> int:
        """Number of images in each inference."""
        return int(self.tensors[0].shape[0])

    @property
    def image_sizes(self) -> list[ImageSize]:
        """Different heights and widths of the images, the largest first."""
        sizes = {spatial_size(tensor.shape, self.card.input_layout) for tensor in self.tensors}
        return sorted(sizes, key=lambda size: size[0] * size[1], reverse=True)

    @property
    def precisions(self) -> list[str]:
        """Precisions that the device supports, the one that the model asks for first."""
        capabilities = self.core.get_property(self.device, "OPTIMIZATION_CAPABILITIES")
        offered = [name for capability, name in PRECISIONS.items() if capability in capabilities]
        asked = self.card.inference_precision
        return sorted(offered, key=lambda name: name != asked) or [asked]

    def compile(self, precision: str, **properties: Any) -> ov.CompiledModel:
        """Compile the model for the device."""
        return compile_network(self.core, self.network, self.path, self.device, [precision], properties)[0]


def open_subject(
    path: Path, device: str, images: Sequence[Pixels] = (), image_size: ImageSize | None = None
) -> Subject:
    """Read a model, and prepare images (h, w, 3) to measure it with, by default noise.

    The noise has by default the size that the model accepts, or else that it resizes to.
    """
    core, device = ov.Core(), device.upper()
    require_device(core, device)
    network = read_network(core, path)
    card = read_card(network, path)
    accepted = ImageInput.of(network, card.input_layout)
    if not images:
        default = [n if side == ANY else side for side, n in zip(accepted.size, card.image_size, strict=True)]
        images = [np.random.default_rng(0).integers(0, 256, (*(image_size or default), 3), dtype=np.uint8)]
    return Subject(core, network, card, path, device, [ov.Tensor(accepted.arrange(image)) for image in images])


def single_latency(subject: Subject, precision: str, seconds: float, elapsed: Elapsed) -> Times:
    """Time single inferences, each of which has the whole device.

    They are measured from an image in memory to results in memory, without reading and decoding files.
    """
    request = subject.compile(precision, PERFORMANCE_HINT="LATENCY").create_infer_request()
    return timed([inference(request, tensor) for tensor in subject.tensors], seconds, elapsed)


def inference(request: ov.InferRequest, tensor: ov.Tensor) -> Callable[[], None]:
    """Return a function that runs a request once and leaves the outputs in it."""

    def infer() -> None:
        request.set_input_tensor(tensor)
        request.start_async()
        request.wait()

    return infer


def throughput(
    subject: Subject, precision: str, seconds: float, elapsed: Elapsed, streams: int | None = None
) -> Throughput:
    """Count the images per second with several requests at the same time; by default OpenVINO chooses their number."""
    properties = {"NUM_STREAMS": streams} if streams else {"PERFORMANCE_HINT": "THROUGHPUT"}
    compiled = subject.compile(precision, **properties)
    queue = ov.AsyncInferQueue(compiled, get_property(compiled, "OPTIMAL_NUMBER_OF_INFER_REQUESTS") or 1)
    for number in range(max(WARM_UP, len(subject.tensors)) * len(queue)):
        queue.start_async({0: subject.tensors[number // len(queue) % len(subject.tensors)]}, share_inputs=True)
    queue.wait_all()
    begin = last = time.perf_counter()
    for count, tensor in enumerate(cycle(subject.tensors), start=1):
        queue.start_async({0: tensor}, share_inputs=True)  # waits for an idle request
        now = time.perf_counter()
        elapsed(now - last)
        last = now
        if now - begin >= seconds and count >= MIN_CALLS:
            break
    queue.wait_all()
    rate = count * subject.batch / (time.perf_counter() - begin)
    return Throughput(rate, len(queue), get_property(compiled, "NUM_STREAMS"))


def parts(subject: Subject, precision: str, seconds: float, elapsed: Elapsed) -> dict[str, float]:
    """Return the milliseconds that an inference spends in each part of the model, as the device reports them.

    Profiling takes time itself, so the sum is not the latency. If the device has fused operations of several parts,
    their time counts for the first of these parts.
    """
    compiled = subject.compile(precision, PERFORMANCE_HINT="LATENCY", PERF_COUNT=True)
    request = compiled.create_infer_request()
    origins = {node.get_friendly_name(): original_names(node) for node in compiled.get_runtime_model().get_ops()}
    total, number = dict.fromkeys(PARTS, 0.0), 0
    for _ in repeat([inference(request, tensor) for tensor in subject.tensors], seconds, elapsed):
        number += 1
        for node in request.profiling_info:
            part = part_of(*origins.get(node.node_name, ()), node.node_name)
            total[part] += 1000 * node.real_time.total_seconds()
    return {name: value / number for name, value in total.items()}


def original_names(node: ov.Node) -> list[str]:
    """Return the names of the model's operations that a device fused into one."""
    info = node.get_rt_info()
    return str(info["originalLayersNames"].astype(str)).split(",") if "originalLayersNames" in info else []


def openvino_machine(subject: Subject, precision: str) -> dict[str, Any]:
    """Describe the machine: processor, number of threads and cores, version of OpenVINO."""
    compiled = subject.compile(precision, PERFORMANCE_HINT="LATENCY")
    devices = get_property(compiled, "EXECUTION_DEVICES") or [subject.device]
    names = [subject.core.get_property(name.strip("()"), "FULL_DEVICE_NAME") for name in devices]
    return {
        "device": ", ".join(dict.fromkeys(names)),
        "threads": get_property(compiled, "INFERENCE_NUM_THREADS"),
        "cores": cores(),
        "software": f"OpenVINO {ov.__version__.partition('-')[0]}",
    }


def get_property(compiled: ov.CompiledModel, name: str) -> Any:
    """Return a property of a compiled model; None if its device does not have it."""
    try:
        return compiled.get_property(name)
    except RuntimeError:
        return None


def memory(path: Path, device: str, precision: str, image_size: ImageSize) -> Memory | None:
    """Measure the memory of a new process that loads a model; None where the system does not report it."""
    if not STATUS.exists():
        return None
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:
        return fresh.submit(load_and_measure, path, device, precision, image_size).result()


def load_and_measure(path: Path, device: str, precision: str, image_size: ImageSize) -> Memory:
    """Load a model in this process, run it a few times and return the memory that was added."""
    require_device(ov.Core(), device)  # loads the libraries of the device
    before = mebibytes("VmRSS")
    subject = open_subject(path, device, image_size=image_size)
    infer = inference(subject.compile(precision, PERFORMANCE_HINT="LATENCY").create_infer_request(), subject.tensors[0])
    for _ in range(WARM_UP):
        infer()
    return Memory(mebibytes("VmHWM"), mebibytes("VmRSS") - before)


def mebibytes(name: str) -> float:
    """Return the memory of this process: ``VmRSS`` at this moment, ``VmHWM`` at its peak."""
    found = re.search(rf"{name}:\s*(\d+) kB", STATUS.read_text())
    return int(found[1]) / 1024 if found else 0.0
