"""Trained pipelines and exported programs as functions from an image to its result."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from anomalib_flows.core.preprocess import resize
from anomalib_flows.core.types import ImageResult, ImageSize, content_size
from anomalib_flows.export.network import GraphOutputs, Network
from anomalib_flows.models.pipeline import Pipeline
from anomalib_flows.models.postprocess import Postprocess

PredictImage = Callable[[Tensor], ImageResult]
"""Function from an image of shape (3, h, w), uint8, to its result."""

Array = npt.NDArray[Any]


def pipeline_predictor(pipeline: Pipeline, network: Network) -> PredictImage:
    """Return a function that predicts with the trained pipeline, in torch and float32."""
    pipeline = copy.deepcopy(pipeline).cpu().eval()

    def predict(image: Tensor) -> ImageResult:
        image = fitted(image, network)
        maps = network.exported_maps(pipeline(image[None]).maps)
        return pipeline.postprocess.image_results(maps, [content_of(image, network)])[0]

    return predict


def program_predictor(program: Any, network: Network, postprocess: Postprocess) -> PredictImage:
    """Return a function that predicts with a program of ``torch.export``."""
    module = program.module()

    def predict(image: Tensor) -> ImageResult:
        with torch.no_grad():
            outputs = module(torch.from_numpy(graph_input(image, network)))
        named = {name: value.numpy() for name, value in zip(GraphOutputs._fields, outputs, strict=True)}
        return to_result(named, content_of(image, network), postprocess)

    return predict


def to_result(outputs: Mapping[str, Array], content: ImageSize, postprocess: Postprocess) -> ImageResult:
    """Convert outputs, by name, to the result for the first image; the postprocess decides a raw map alone."""
    if "raw_map" in outputs:
        return postprocess.image_results(torch.from_numpy(outputs["raw_map"][:1].copy()), [content])[0]
    height, width = content
    raw = torch.from_numpy(outputs["raw_score"][:1].copy()) if "raw_score" in outputs else None
    return ImageResult(
        score=float(outputs["pred_score"][0]),
        label=int(outputs["pred_label"][0]),
        p_value=math.nan if raw is None else float(postprocess.p_values(raw)),
        raw_score=None if raw is None else float(raw),
        anomaly_map=outputs["anomaly_map"][0, 0, :height, :width],
        mask=outputs["pred_mask"][0, 0, :height, :width] != 0,
    )


def graph_input(image: Tensor, network: Network) -> Array:
    """Convert an image (3, h, w), uint8, to the input of a network's graph; repeated for batches of fixed size."""
    image = fitted(image, network)
    if not network.options.preprocessing:
        array = network.preprocess.resize(image[None]).numpy()
    else:
        image = image.flip(0) if network.options.channels == "BGR" else image
        values = image.permute(1, 2, 0) if network.channels_last else image
        array = np.ascontiguousarray(values.numpy())[None]
        array = array.astype(np.float32) / 255 if network.unit_floats else array
    return np.repeat(array, max(1, network.options.batch), axis=0)


def fitted(image: Tensor, network: Network) -> Tensor:
    """Resize an image (3, h, w) to the fixed size of a graph's input, if it has one."""
    size = network.options.fixed_size
    if size is None or size == image.shape[1:]:
        return image
    return resize(image, size).round().to(torch.uint8)


def content_of(image: Tensor, network: Network) -> ImageSize:
    """Return height and width of an image (3, h, w) within the maps of a network."""
    height, width = network.options.fixed_size or tuple(image.shape[1:])
    return content_size(height, width, network.preprocess.size, network.preprocess.mode)
