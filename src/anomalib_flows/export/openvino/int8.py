"""Quantise a pipeline to INT8, and set the thresholds of the quantised graph."""

from __future__ import annotations

import copy
import random
import warnings
from collections.abc import Callable, Iterable, Sequence
from functools import partial
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
from anomalib_flows.export.openvino.graph import compress_to_fp16
from anomalib_flows.export.openvino.predictors import compile_model
from anomalib_flows.export.openvino.quantization import AccuracyControl, Item, Metric, quantize
from anomalib_flows.export.parity import Array, image_auroc
from anomalib_flows.export.predictors import graph_input
from anomalib_flows.inference.fitting import calibrate_postprocess
from anomalib_flows.models.postprocess import Postprocess


def select_data(job: ExportJob) -> tuple[list[Sample], list[Sample], list[Sample]]:
    """Select the images for INT8, by their use.

    Activations are measured on training images, selected by the seed of the run, and thresholds are set on calibration
    images. Accuracy control ranks validation images; there are none unless they are normal and anomalous.
    """
    training, calibration, validation = (
        [s for s in job.samples if s.split == split] for split in ("train", "calibration", "validation")
    )
    count = min(job.options.int8.images, len(training))
    selected = random.Random(job.config.seed).sample(training, count)  # noqa: S311
    return selected, calibration, validation if {s.label for s in validation} == {0, 1} else []


def quantize_and_calibrate(graph: ov.Model, job: ExportJob) -> tuple[ov.Model, Postprocess, dict[str, Any]]:
    """Quantise a graph that returns raw maps, and set thresholds on its maps of the calibration images.

    Return the quantised graph, its constants, and how it was quantised. The graph itself may be changed.
    """
    training, calibration, validation = select_data(job)
    options, post = job.options.int8, job.pipeline.postprocess
    read = partial(read_input, network=job.network, max_megapixels=job.max_megapixels)
    items, metric = labelled(calibration, validation), image_auroc_metric(post, read)
    control = AccuracyControl(items, metric) if options.accuracy_control else None
    before = control.metric(compile_model(graph), control.items) if control else 0.0
    quantized = quantize(graph, [LazyImage(sample.path) for sample in training], options, read, control)
    compress_to_fp16(quantized)  # before thresholds are set, since it rounds the weights that are left in float32
    facts: dict[str, Any] = {"training_images": len(training)}
    if control:
        after = control.metric(compile_model(quantized), control.items)
        warn_of_drop(before - after, options.max_drop)
        images = "validation" if validation else "calibration, with drawn defects"
        facts["accuracy_control"] = {
            "auroc": [before, after],
            "images": {"what": images, "count": len(control.items)},
            "max_drop": options.max_drop,
        }
    recalibrated = copy.deepcopy(post)
    maps, config = raw_maps(quantized, read, calibration), job.config
    calibrate_postprocess(recalibrated, maps, config.false_alarm_rate, config.threshold_rule)
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


class LazyImage(NamedTuple):
    """An image that is read when it is needed; large photos would not all fit into memory.

    Args:
        path: The image file.
        defect: Number of the synthetic defect that is added, if any.
    """

    path: Path
    defect: int | None = None


def read_input(image: LazyImage, network: Network, max_megapixels: float) -> Array:
    """Read an image as the input of a network's graph."""
    pixels = read_image(image.path, max_megapixels)
    if image.defect is not None:
        pixels = add_synthetic_defect(pixels, 0, image.defect)[0].round().to(torch.uint8)
    return graph_input(pixels, network)


def labelled(calibration: Sequence[Sample], validation: Sequence[Sample]) -> list[Item]:
    """List labelled images: validation images, or calibration images with and without synthetic defects."""
    if validation:
        return [(LazyImage(sample.path), sample.label) for sample in validation]
    pairs = [(LazyImage(s.path), LazyImage(s.path, number)) for number, s in enumerate(calibration)]
    return [(photo, label) for pair in pairs for label, photo in enumerate(pair)]


def image_auroc_metric(postprocess: Postprocess, read: Callable[[LazyImage], Array]) -> Metric:
    """Return the function that computes the image AUROC of a graph that returns raw maps."""

    def auroc(model: ov.CompiledModel, items: Iterable[Item]) -> float:
        request, scores, labels = model.create_infer_request(), [], []
        for photo, label in items:
            maps = torch.from_numpy(np.array(request.infer({0: read(photo)})[0]))
            scores.append(float(postprocess.scores(maps)[0]))
            labels.append(label)
        return image_auroc(np.array(scores), np.array(labels)) or 0.0

    return auroc


def raw_maps(graph: ov.Model, read: Callable[[LazyImage], Array], samples: Sequence[Sample]) -> Tensor:
    """Return the raw maps of images, (n, M, H, W), in the inference precision of exported models."""
    request = compile_model(graph).create_infer_request()
    found = [
        np.array(request.infer({0: read(LazyImage(sample.path))})[0])[:1]
        for sample in tqdm(samples, "Calibrating", unit="image", delay=1, leave=False)
    ]
    return torch.from_numpy(np.concatenate(found))
