"""From a calibrated pipeline to files, with a report of how they compare."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import openvino as ov
import torch
from torch import Tensor
from tqdm import tqdm

from anomalib_flows.calibration import calibrate
from anomalib_flows.data.reading import read_image
from anomalib_flows.deployment.formats import Whole, export_program, save_onnx, save_torch
from anomalib_flows.deployment.graph import build_network, decide
from anomalib_flows.deployment.information import INFERENCE_PRECISION, describe_for_model_api
from anomalib_flows.deployment.judging import by_openvino, by_torch, compiled, graph_input
from anomalib_flows.deployment.network import Decisions, Network
from anomalib_flows.deployment.parity import Judge
from anomalib_flows.deployment.parts import sizes
from anomalib_flows.deployment.quantization import QuantizationOptions, quantize
from anomalib_flows.deployment.storage import halve
from anomalib_flows.models.postprocess import Postprocess
from anomalib_flows.runtime.card import Card, write_card
from anomalib_flows.types import Sample

Format = Literal["openvino", "onnx", "torch"]


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What was written.

    Args:
        judges: Ways to ask it, by what is computed in; the first is what it is meant for, the second what the device
            would choose.
        sizes: Bytes of each part's constants; empty where parts are not told apart.
        seconds: How long converting took.
        postprocess: The constants that it decides by.
        quantized_on: How many training images the activations were measured on.
    """

    judges: dict[str, Judge]
    sizes: dict[str, int]
    seconds: float
    postprocess: Postprocess
    quantized_on: int = 0


def write_program(network: Network, postprocess: Postprocess, file: Path, format: Format) -> Exported:
    """Write a pipeline as ONNX or as a program of ``torch.export``, and read it again."""
    start = time.perf_counter()
    program = export_program(Whole(network, postprocess))
    (save_onnx if format == "onnx" else save_torch)(program, file)
    seconds = time.perf_counter() - start
    if format == "onnx":
        judge = by_openvino(compiled(ov.Core().read_model(file), INFERENCE_PRECISION), network, postprocess)
    else:
        judge = by_torch(torch.export.load(file), network, Decisions._fields)
    return Exported(judges={INFERENCE_PRECISION: judge}, sizes={}, seconds=seconds, postprocess=postprocess)


def write_openvino(
    network: Network,
    postprocess: Postprocess,
    card: Callable[[Postprocess], Card],
    file: Path,
    taken: Taken,
    options: QuantizationOptions,
) -> Exported:
    """Write a pipeline as a graph of OpenVINO, and read it again.

    Args:
        network: From images to raw maps.
        postprocess: Calibrated constants.
        card: Makes the card, given the constants that the graph decides by.
        file: The ``.xml``; ``.bin`` goes beside it.
        taken: Images that INT8 takes.
        options: How to quantise.
    """
    start = time.perf_counter()
    graph, facts = build_network(network), card(postprocess)
    seconds = time.perf_counter() - start
    if facts.precision == "int8":
        graph, postprocess = requantized(graph, network, postprocess, taken, options)
        facts = card(postprocess)
    if facts.precision != "fp32":
        halve(graph)
    start = time.perf_counter()
    model = decide(graph, postprocess, facts.interface)
    write_card(model, facts)
    if facts.interface.startswith("model-api"):
        describe_for_model_api(model, facts)
    ov.save_model(model, file, compress_to_fp16=False)
    seconds += time.perf_counter() - start
    judges: dict[str, Judge] = {}
    for precision in (INFERENCE_PRECISION, None):
        read = compiled(ov.Core().read_model(file), precision)
        called = precision or read.get_property("INFERENCE_PRECISION_HINT").to_string()
        judges.setdefault(called, by_openvino(read, network, postprocess))
    return Exported(
        judges=judges,
        sizes=sizes(model),
        seconds=seconds,
        postprocess=postprocess,
        quantized_on=len(taken.training) if facts.precision == "int8" else 0,
    )


def requantized(
    network: ov.Model, source: Network, postprocess: Postprocess, taken: Taken, options: QuantizationOptions
) -> tuple[ov.Model, Postprocess]:
    """Quantise a graph, and set the thresholds by what it then says of the calibration images.

    Args:
        network: A graph that gives raw maps.
        source: What it was built from.
        postprocess: Constants of the float model.
        taken: Images to quantise and to calibrate with.
        options: How to quantise.
    """
    quantized = quantize(network, images_of(taken.training, source), options)
    mine = copy.deepcopy(postprocess)
    if taken.calibration:
        calibrate(mine, raw_maps(quantized, source, taken.calibration), taken.rate)
    return quantized, mine


@dataclass(frozen=True, kw_only=True)
class Taken:
    """Images that INT8 takes.

    Args:
        training: Normal images that the activations are measured on.
        calibration: Normal images, not trained on, that thresholds are set by.
        rate: Rate of false alarms.
    """

    training: Sequence[Sample]
    calibration: Sequence[Sample]
    rate: float


def images_of(samples: Sequence[Sample], source: Network) -> list[Any]:
    """Read images as a graph takes them."""
    convert = graph_input(source)
    return [convert(read_image(sample.path)) for sample in tqdm(samples, "Reading", unit="image", delay=1, leave=False)]


def raw_maps(network: ov.Model, source: Network, samples: Sequence[Sample]) -> Tensor:
    """Compute raw maps of images, (n, 1, H, W), in the precision that the model will be computed in."""
    request, convert = compiled(network, INFERENCE_PRECISION).create_infer_request(), graph_input(source)
    found = [
        np.array(request.infer({0: convert(read_image(sample.path))})[0])
        for sample in tqdm(samples, "Calibrating", unit="image", delay=1, leave=False)
    ]
    return torch.from_numpy(np.concatenate(found))
