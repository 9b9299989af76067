"""Quantise a pipeline to INT8, and set the thresholds of the quantised graph."""

from __future__ import annotations

import copy
import random
import warnings
from collections.abc import Callable, Iterable, Sequence
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
from anomalib_flows.export.exporter import ExportJob
from anomalib_flows.export.network import Network
from anomalib_flows.export.openvino.predictors import compile_model
from anomalib_flows.export.openvino.quantization import AccuracyControl, Item, Metric, quantize
from anomalib_flows.export.openvino.storage import compress_to_fp16
from anomalib_flows.export.parity import Array, image_auroc
from anomalib_flows.export.predictors import graph_input
from anomalib_flows.inference.fitting import calibrate_postprocess
from anomalib_flows.models.postprocess import Postprocess


@dataclass(frozen=True, kw_only=True)
class QuantizationData:
    """Images that INT8 needs, by their use.

    Args:
        training: Normal images that activations are measured on.
        calibration: Normal images, not trained on, that thresholds are set on.
        validation: Normal and anomalous images that accuracy control ranks; empty to use the calibration images with
            and without synthetic defects.
    """

    training: Sequence[Sample]
    calibration: Sequence[Sample]
    validation: Sequence[Sample]


def select_data(job: ExportJob) -> QuantizationData:
    """Select the images for INT8: training images by the seed of the run, and all held-out images."""
    training, calibration, validation = (
        [s for s in job.samples if s.split == split] for split in ("train", "calibration", "validation")
    )
    count = min(job.options.int8.images, len(training))
    return QuantizationData(
        training=random.Random(job.config.seed).sample(training, count),  # noqa: S311
        calibration=calibration,
        validation=validation if {s.label for s in validation} == {0, 1} else [],
    )


def quantize_and_calibrate(graph: ov.Model, job: ExportJob) -> tuple[ov.Model, Postprocess, dict[str, Any]]:
    """Quantise a graph that returns raw maps, and set thresholds on its maps of the calibration images.

    Args:
        graph: The graph, which may be changed.
        job: The pipeline and the options.

    Returns:
        The quantised graph, its constants, and how it was quantised.
    """
    data, options, post = select_data(job), job.options.int8, job.pipeline.postprocess
    read = reader(job.network)
    control = AccuracyControl(labelled(data), image_auroc_metric(post, read)) if options.accuracy_control else None
    before = control.metric(compile_model(graph), control.items) if control else 0.0
    quantized = quantize(graph, [Photo(sample.path) for sample in data.training], options, read, control)
    compress_to_fp16(quantized)  # before thresholds are set, since it rounds the weights that are left in float32
    facts: dict[str, Any] = {"training_images": len(data.training)}
    if control:
        after = control.metric(compile_model(quantized), control.items)
        warn_of_drop(before - after, options.max_drop)
        images = "validation" if data.validation else "calibration, with drawn defects"
        facts["accuracy_control"] = {
            "auroc": [before, after],
            "images": {"what": images, "count": len(control.items)},
            "max_drop": options.max_drop,
        }
    recalibrated = copy.deepcopy(post)
    calibrate_postprocess(recalibrated, raw_maps(quantized, job.network, data.calibration), job.config.false_alarm_rate)
    return quantized, recalibrated, facts


def warn_of_drop(drop: float, max_drop: float) -> None:
    """Warn if INT8 loses more image AUROC than accuracy control may accept."""
    if drop > max_drop:
        warnings.warn(
            f"INT8 loses {drop:.4f} of the image AUROC on the images of accuracy control, more than `int8.max_drop` "
            f"{max_drop:g}: this is the best that NNCF found.",
            UserWarning,
            stacklevel=3,
        )


class Photo(NamedTuple):
    """An image that is read when it is needed; large photos would not all fit into memory.

    Args:
        path: The image file.
        defect: Number of the synthetic defect that is added, if any.
    """

    path: Path
    defect: int | None = None


def reader(network: Network) -> Callable[[Photo], Array]:
    """Return a function that reads an image as the input of a network's graph."""
    convert = graph_input(network)

    def read(photo: Photo) -> Array:
        image = read_image(photo.path)
        if photo.defect is not None:
            image = add_synthetic_defect(image, 0, photo.defect)[0].round().to(torch.uint8)
        return convert(image)

    return read


def labelled(data: QuantizationData) -> list[Item]:
    """List labelled images: validation images, or calibration images with and without synthetic defects."""
    if data.validation:
        return [(Photo(sample.path), sample.label) for sample in data.validation]
    pairs = [(Photo(s.path), Photo(s.path, number)) for number, s in enumerate(data.calibration)]
    return [(photo, label) for pair in pairs for label, photo in enumerate(pair)]


def image_auroc_metric(postprocess: Postprocess, read: Callable[[Photo], Array]) -> Metric:
    """Return the function that computes the image AUROC of a graph that returns raw maps."""

    def auroc(model: ov.CompiledModel, items: Iterable[Item]) -> float:
        request, scores, labels = model.create_infer_request(), [], []
        for photo, label in items:
            maps = torch.from_numpy(np.array(request.infer({0: read(photo)})[0]))
            scores.append(float(postprocess.scores(maps)[0]))
            labels.append(label)
        return image_auroc(np.array(scores), np.array(labels)) or 0.0

    return auroc


def raw_maps(graph: ov.Model, network: Network, samples: Sequence[Sample]) -> Tensor:
    """Return the raw maps of images, (n, M, H, W), in the inference precision of exported models."""
    request, convert = compile_model(graph).create_infer_request(), graph_input(network)
    found = [
        np.array(request.infer({0: convert(read_image(sample.path))})[0])[:1]
        for sample in tqdm(samples, "Calibrating", unit="image", delay=1, leave=False)
    ]
    return torch.from_numpy(np.concatenate(found))
