"""A graph in INT8, with thresholds of its own."""

from __future__ import annotations

import copy
import random
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import openvino as ov
import torch
from torch import Tensor
from tqdm import tqdm

from anomalib_flows.core.types import Sample
from anomalib_flows.data.drawing.photos import add_synthetic_defect
from anomalib_flows.data.loading.reading import read_image
from anomalib_flows.export.exported import INFERENCE_PRECISION
from anomalib_flows.export.judging import compiled, graph_input
from anomalib_flows.export.network import Network
from anomalib_flows.export.openvino.quantization import Item, Metric, quantize
from anomalib_flows.export.openvino.storage import compress_to_fp16
from anomalib_flows.export.options import QuantizationOptions
from anomalib_flows.export.parity import Array, image_auroc
from anomalib_flows.inference.calibration import calibrate
from anomalib_flows.models.postprocess import Postprocess


@dataclass(frozen=True, kw_only=True)
class QuantizationData:
    """Images that INT8 needs, each for its purpose.

    Args:
        training: Normal images that the activations are measured on.
        calibration: Normal images, not trained on, that thresholds are set by.
        validation: Normal and anomalous images that accuracy control ranks; empty to draw defects on the calibration
            images.
        false_alarm_rate: Rate that thresholds are set for.
    """

    training: Sequence[Sample]
    calibration: Sequence[Sample]
    validation: Sequence[Sample]
    false_alarm_rate: float


def choose_images(
    samples: Sequence[Sample], options: QuantizationOptions, config: Mapping[str, Any]
) -> QuantizationData:
    """Choose the images for INT8: some that were trained on, by the run's seed, and all held-out ones.

    Args:
        samples: Images of a run.
        options: How to quantise.
        config: The run's options.
    """
    training, calibration, validation = (
        [s for s in samples if s.split == split] for split in ("train", "calibration", "validation")
    )
    return QuantizationData(
        training=random.Random(config["seed"]).sample(training, min(options.images, len(training))),  # noqa: S311
        calibration=calibration,
        validation=validation if {s.label for s in validation} == {0, 1} else [],
        false_alarm_rate=config["false_alarm_rate"],
    )


def requantized(
    graph: ov.Model, source: Network, postprocess: Postprocess, data: QuantizationData, options: QuantizationOptions
) -> tuple[ov.Model, Postprocess, dict[str, Any]]:
    """Quantise a graph, and set the thresholds by what it then says of the calibration images.

    Args:
        graph: A graph that gives raw maps.
        source: What it was built from.
        postprocess: Constants of the float model.
        data: Images to quantise and to calibrate with.
        options: How to quantise.

    Returns:
        The quantised graph, its constants, and what there is to say about it.
    """
    facts: dict[str, Any] = {"training_images": len(data.training)}
    read = reader(source)
    items, rank = labelled(data) if options.accuracy_control else [], ranking(postprocess, read)
    before = rank(compiled(graph, INFERENCE_PRECISION), items) if items else None
    images = [Photo(sample.path) for sample in data.training]
    quantized = quantize(graph, images, options, read, items, rank)
    compress_to_fp16(quantized)  # before thresholds are set: what is left in float32 is rounded, too
    if before is not None:
        after = rank(compiled(quantized, INFERENCE_PRECISION), items)
        ranked = "validation" if data.validation else "calibration, with drawn defects"
        facts["accuracy_control"] = {
            "auroc": [before, after],
            "images": {"what": ranked, "count": len(items)},
            "max_drop": options.max_drop,
        }
        if before - after > options.max_drop:
            warnings.warn(
                f"INT8 loses {before - after:.4f} of the image AUROC on the images of accuracy control, more than "
                f"--int8.max_drop {options.max_drop:g}: this is the best that NNCF found.",
                UserWarning,
                stacklevel=2,
            )
    recalibrated = copy.deepcopy(postprocess)
    calibrate(recalibrated, raw_maps(quantized, source, data.calibration), data.false_alarm_rate)
    return quantized, recalibrated, facts


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
            image = add_synthetic_defect(image, 0, photo.defect)[0].round().to(torch.uint8)
        return convert(image)

    return read


def labelled(data: QuantizationData) -> list[Item]:
    """List labelled images: those that validate, or those that calibrate, as they are and with drawn defects."""
    if data.validation:
        return [(Photo(sample.path), sample.label) for sample in data.validation]
    pairs = [(Photo(s.path), Photo(s.path, number)) for number, s in enumerate(data.calibration)]
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
