"""How long an exported model takes on this machine, and in which of its parts."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov

from anomalib_flows.core.images import Pixels
from anomalib_flows.core.timing import LEAST, WARM_UP, Spent, Times, cores, repeat, timed
from anomalib_flows.core.types import ImageSize
from anomalib_flows.runtime.card import Card, read_card
from anomalib_flows.runtime.network import compile_network, read_network, require_device
from anomalib_flows.runtime.parts import PARTS, part_of
from anomalib_flows.runtime.ports import ANY, ImageInput, spatial_size

PRECISIONS = {"FP32": "f32", "BF16": "bf16", "FP16": "f16"}
"""What OpenVINO calls a precision among a device's capabilities, and where it is asked for."""


@dataclass(frozen=True)
class Throughput:
    """What a device does with several requests at the same time.

    Args:
        images_per_second: Images that were done in a second.
        requests: How many requests were on their way.
        streams: How many of them were computed at the same time; None if the device does not tell.
    """

    images_per_second: float
    requests: int
    streams: int | None


@dataclass(frozen=True)
class Subject:
    """A model, and the images that it is measured with.

    Args:
        core: OpenVINO.
        network: The model.
        card: What it says of itself.
        path: Its file.
        device: Name of the device in upper case.
        tensors: What the model takes, one for each image.
    """

    core: ov.Core
    network: ov.Model
    card: Card
    path: Path
    device: str
    tensors: list[ov.Tensor]

    @property
    def batch(self) -> int:
        """Images in one inference."""
        return int(self.tensors[0].shape[0])

    @property
    def image_sizes(self) -> list[ImageSize]:
        """Heights and widths that there are, the largest image first."""
        sizes = {spatial_size(tensor.shape, self.card.input_layout) for tensor in self.tensors}
        return sorted(sizes, key=lambda size: size[0] * size[1], reverse=True)

    @property
    def precisions(self) -> list[str]:
        """What the device computes in, the precision that the model asks for first."""
        capabilities = self.core.get_property(self.device, "OPTIMIZATION_CAPABILITIES")
        offered = [name for capability, name in PRECISIONS.items() if capability in capabilities]
        asked = self.card.inference_precision
        return sorted(offered, key=lambda name: name != asked) or [asked]

    def compile(self, precision: str, **options: Any) -> ov.CompiledModel:
        """Compile the model for the device.

        Raises:
            InputError: If it cannot be.
        """
        return compile_network(self.core, self.network, self.path, self.device, [precision], options)[0]


def open_subject(
    path: Path, device: str, images: Sequence[Pixels] = (), image_size: ImageSize | None = None
) -> Subject:
    """Read a model, and prepare the images to measure it with.

    Args:
        path: The .xml file.
        device: What to compute on.
        images: Images of shape (h, w, 3); if there are none, noise is taken.
        image_size: Height and width of the noise. By default what the model takes, or the size that it resizes to.

    Raises:
        InputError: If the model cannot be used, the device is not there, or images have another size than it takes.
    """
    core, device = ov.Core(), device.upper()
    require_device(core, device)
    network = read_network(core, path)
    card = read_card(network, path)
    accepted = ImageInput.of(network, card.input_layout)
    if not images:
        default = [n if edge == ANY else edge for edge, n in zip(accepted.size, card.image_size, strict=True)]
        images = [np.random.default_rng(0).integers(0, 256, (*(image_size or default), 3), dtype=np.uint8)]
    return Subject(core, network, card, path, device, [ov.Tensor(accepted.arrange(image)) for image in images])


def latency(subject: Subject, precision: str, seconds: float, spent: Spent) -> Times:
    """Time inferences one by one, each with all that the device has.

    From an image in memory to decisions in memory; reading and decoding files are not in it.
    """
    request = subject.compile(precision, PERFORMANCE_HINT="LATENCY").create_infer_request()
    return timed([inference(request, tensor) for tensor in subject.tensors], seconds, spent)


def inference(request: ov.InferRequest, tensor: ov.Tensor) -> Callable[[], None]:
    """Make a function that infers once and leaves the outputs where they are."""

    def infer() -> None:
        request.set_input_tensor(tensor)
        request.start_async()
        request.wait()

    return infer


def throughput(
    subject: Subject, precision: str, seconds: float, spent: Spent, streams: int | None = None
) -> Throughput:
    """Count how many images are done in a second with several requests at the same time.

    Args:
        subject: What is measured.
        precision: What to compute in.
        seconds: How long to go on.
        spent: Told of the time that goes by.
        streams: How many requests are computed at the same time; by default what OpenVINO chooses for throughput.
    """
    options = {"NUM_STREAMS": streams} if streams else {"PERFORMANCE_HINT": "THROUGHPUT"}
    compiled = subject.compile(precision, **options)
    queue = ov.AsyncInferQueue(compiled, tell(compiled, "OPTIMAL_NUMBER_OF_INFER_REQUESTS") or 1)
    for number in range(max(WARM_UP, len(subject.tensors)) * len(queue)):
        queue.start_async({0: subject.tensors[number // len(queue) % len(subject.tensors)]}, share_inputs=True)
    queue.wait_all()
    begin = last = time.perf_counter()
    for count, tensor in enumerate(cycle(subject.tensors), start=1):
        queue.start_async({0: tensor}, share_inputs=True)  # waits until one is idle
        now = time.perf_counter()
        spent(now - last)
        last = now
        if now - begin >= seconds and count >= LEAST:
            break
    queue.wait_all()
    rate = count * subject.batch / (time.perf_counter() - begin)
    return Throughput(rate, len(queue), tell(compiled, "NUM_STREAMS"))


def parts(subject: Subject, precision: str, seconds: float, spent: Spent) -> dict[str, float]:
    """Milliseconds of an inference in each part of the model, as the device counts them itself.

    Counting takes time, too, so that their sum is not the latency. What the device has fused into one operation
    counts for the part that this one begins with.
    """
    compiled = subject.compile(precision, PERFORMANCE_HINT="LATENCY", PERF_COUNT=True)
    request, part = compiled.create_infer_request(), Parts(compiled)
    total, number = dict.fromkeys(PARTS, 0.0), 0
    for _ in repeat([inference(request, tensor) for tensor in subject.tensors], seconds, spent):
        number += 1
        for node in request.profiling_info:
            total[part(node.node_name)] += 1000 * node.real_time.total_seconds()
    return {name: value / number for name, value in total.items()}


class Parts:
    """The part that each operation of a compiled model belongs to."""

    def __init__(self, compiled: ov.CompiledModel) -> None:
        self._made_of = {node.get_friendly_name(): made_of(node) for node in compiled.get_runtime_model().get_ops()}

    def __call__(self, name: str) -> str:
        """Tell the part by an operation's name in the profile."""
        return part_of(*self._made_of.get(name, ()), name)


def made_of(node: ov.Node) -> list[str]:
    """Names of the model's operations that a device made one operation of."""
    info = node.get_rt_info()
    return str(info["originalLayersNames"].astype(str)).split(",") if "originalLayersNames" in info else []


def machine(subject: Subject, precision: str) -> dict[str, Any]:
    """Tell what was measured on: processor, threads and version of OpenVINO."""
    compiled = subject.compile(precision, PERFORMANCE_HINT="LATENCY")
    devices = tell(compiled, "EXECUTION_DEVICES") or [subject.device]
    names = [subject.core.get_property(name.strip("()"), "FULL_DEVICE_NAME") for name in devices]
    return {
        "device": ", ".join(dict.fromkeys(names)),
        "threads": tell(compiled, "INFERENCE_NUM_THREADS"),
        "cores": cores(),
        "software": f"OpenVINO {ov.__version__.partition('-')[0]}",
    }


def tell(compiled: ov.CompiledModel, name: str) -> Any:
    """Return a property of a compiled model; None if its device does not have it."""
    try:
        return compiled.get_property(name)
    except RuntimeError:
        return None
