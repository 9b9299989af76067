"""From a calibrated pipeline to files, with a report of how they compare."""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import openvino as ov
import torch
from torch import Tensor
from tqdm import tqdm

from anomalib_flows.calibration import calibrate
from anomalib_flows.data.anomalies import spoil
from anomalib_flows.data.reading import read_image
from anomalib_flows.deployment.formats import Whole, export_program, save_onnx, save_torch
from anomalib_flows.deployment.graph import build_network, decide
from anomalib_flows.deployment.information import INFERENCE_PRECISION, describe_for_model_api
from anomalib_flows.deployment.judging import by_openvino, by_torch, compiled, graph_input
from anomalib_flows.deployment.network import Decisions, Network
from anomalib_flows.deployment.parity import Array, Judge, image_auroc
from anomalib_flows.deployment.parts import sizes
from anomalib_flows.deployment.quantization import Item, Metric, QuantizationOptions, quantize
from anomalib_flows.deployment.storage import halve
from anomalib_flows.models.postprocess import Postprocess
from anomalib_flows.runtime.card import Card, write_card
from anomalib_flows.types import InputError, Sample

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
        quantization: What there is to say about how it became INT8.
    """

    judges: dict[str, Judge]
    sizes: dict[str, int]
    seconds: float
    postprocess: Postprocess
    quantization: dict[str, Any] = field(default_factory=dict)


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
    said: dict[str, Any] = {}
    if facts.precision == "int8":
        graph, postprocess, said = requantized(graph, network, postprocess, taken, options)
        facts = card(postprocess)
    if facts.precision == "fp16":
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
        quantization=said,
    )


@dataclass(frozen=True, kw_only=True)
class Taken:
    """Images that INT8 takes.

    Args:
        training: Normal images that the activations are measured on.
        calibration: Normal images, not trained on, that thresholds are set by.
        validation: Normal and anomalous images that accuracy control ranks; empty to draw defects on the calibration
            images.
        rate: Rate of false alarms.
    """

    training: Sequence[Sample]
    calibration: Sequence[Sample]
    validation: Sequence[Sample]
    rate: float


def requantized(
    graph: ov.Model, source: Network, postprocess: Postprocess, taken: Taken, options: QuantizationOptions
) -> tuple[ov.Model, Postprocess, dict[str, Any]]:
    """Quantise a graph, and set the thresholds by what it then says of the calibration images.

    Args:
        graph: A graph that gives raw maps.
        source: What it was built from.
        postprocess: Constants of the float model.
        taken: Images to quantise and to calibrate with.
        options: How to quantise.

    Returns:
        The quantised graph, its constants, and what there is to say about it.

    Raises:
        InputError: If there are no images to quantise or to calibrate with.
    """
    if not (taken.training and taken.calibration):
        raise InputError("--precision int8 takes training and calibration images: this run has none, or they are gone.")
    said: dict[str, Any] = {"training_images": len(taken.training)}
    read = reader(source)
    items, rank = labelled(taken) if options.accuracy_control else [], ranking(postprocess, read)
    before = rank(compiled(graph, INFERENCE_PRECISION), items) if items else None
    images = [Photo(sample.path) for sample in taken.training]
    quantized = quantize(graph, images, options, read, items, rank)
    halve(quantized)  # before thresholds are set: what is left in float32 is rounded, too
    if before is not None:
        after = rank(compiled(quantized, INFERENCE_PRECISION), items)
        said["accuracy_control"] = {"auroc": [before, after], "images": len(items), "max_drop": options.max_drop}
        if before - after > options.max_drop:
            warnings.warn(
                f"INT8 loses {before - after:.4f} of the image AUROC on the images of accuracy control, more than "
                f"--int8.max_drop {options.max_drop:g}: this is the best that NNCF found.",
                UserWarning,
                stacklevel=2,
            )
    mine = copy.deepcopy(postprocess)
    calibrate(mine, raw_maps(quantized, source, taken.calibration), taken.rate)
    return quantized, mine, said


class Photo(NamedTuple):
    """An image that is read when its turn comes; large photos would not all fit into memory.

    Args:
        path: Its file.
        defect: Number of the defect that is drawn on it, if one is.
    """

    path: Path
    defect: int | None = None


def reader(source: Network) -> Callable[[Photo], Array]:
    """Make the function that reads an image as a graph takes it."""
    convert = graph_input(source)

    def read(photo: Photo) -> Array:
        image = read_image(photo.path)
        if photo.defect is not None:
            image = spoil(image, 0, photo.defect)[0].round().to(torch.uint8)
        return convert(image)

    return read


def labelled(taken: Taken) -> list[Item]:
    """List labelled images: those that validate, or those that calibrate, as they are and with drawn defects."""
    if taken.validation:
        return [(Photo(sample.path), sample.label) for sample in taken.validation]
    pairs = [(Photo(s.path), Photo(s.path, number)) for number, s in enumerate(taken.calibration)]
    return [(photo, label) for pair in pairs for label, photo in enumerate(pair)]


def ranking(postprocess: Postprocess, read: Callable[[Photo], Array]) -> Metric:
    """Make the image AUROC of a graph that gives raw maps."""

    def auroc(model: ov.CompiledModel, items: Iterable[Item]) -> float:
        request, scores, labels = model.create_infer_request(), [], []
        for photo, label in items:
            maps = torch.from_numpy(np.array(request.infer({0: read(photo)})[0]))
            scores.append(float(postprocess.scores(maps)[0]))
            labels.append(label)
        return image_auroc(np.array(scores), np.array(labels)) or 0.0

    return auroc


def raw_maps(graph: ov.Model, source: Network, samples: Sequence[Sample]) -> Tensor:
    """Compute raw maps of images, (n, 1, H, W), in the precision that the model will be computed in."""
    request, convert = compiled(graph, INFERENCE_PRECISION).create_infer_request(), graph_input(source)
    found = [
        np.array(request.infer({0: convert(read_image(sample.path))})[0])[:1]
        for sample in tqdm(samples, "Calibrating", unit="image", delay=1, leave=False)
    ]
    return torch.from_numpy(np.concatenate(found))
