"""Exported models as functions of an image, to be measured against the trained one."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from anomalib_flows.core.preprocess import resize
from anomalib_flows.export.network import Decision, Network
from anomalib_flows.export.parity import Array, Judge
from anomalib_flows.models.pipeline import Pipeline
from anomalib_flows.models.postprocess import Postprocess

if TYPE_CHECKING:
    import openvino as ov


def graph_input(network: Network) -> Callable[[Tensor], Array]:
    """Make the function that turns an image (3, h, w), uint8, into what the graph of a network takes.

    A graph of several images gets the same one several times.
    """

    def convert(image: Tensor) -> Array:
        image = fitted(image, network)
        if not network.options.preprocessing:
            return repeated(network.preprocess.resize(image[None]).numpy())
        if network.options.channels == "BGR":
            image = image.flip(0)
        values = image.permute(1, 2, 0) if network.channels_last else image
        array = np.ascontiguousarray(values.numpy())[None]
        return repeated(array.astype(np.float32) / 255 if network.unit_floats else array)

    def repeated(array: Array) -> Array:
        return np.repeat(array, max(1, network.options.batch), axis=0)

    return convert


def fitted(image: Tensor, network: Network) -> Tensor:
    """Give an image the one size that a graph takes, if there is one."""
    size = network.options.fixed_size
    if size is None or size == image.shape[1:]:
        return image
    return resize(image, size).round().to(torch.uint8)


def compiled(model: ov.Model | Path, precision: str | None) -> ov.CompiledModel:
    """Compile a graph, or one that is in a file, for the CPU, in a precision or in the one that the device chooses."""
    import openvino as ov  # an optional extra, which formats without it do not need

    from anomalib_flows.runtime.network import explained

    hint = {"PERFORMANCE_HINT": "LATENCY"} | ({"INFERENCE_PRECISION_HINT": precision} if precision else {})
    with explained(model if isinstance(model, Path) else "The exported model", "CPU"):
        return ov.Core().compile_model(model, "CPU", hint)


def by_pipeline(pipeline: Pipeline, network: Network) -> Judge:
    """Let the trained pipeline judge, in torch and float32."""
    pipeline = copy.deepcopy(pipeline).cpu().eval()

    def judge(image: Tensor) -> dict[str, Array]:
        prediction, post = pipeline(fitted(image, network)[None]), pipeline.postprocess
        found = {
            "pred_score": post.normalise_scores(prediction.scores),
            "pred_label": prediction.labels,
            "anomaly_map": post.normalise(prediction.maps),
            "pred_mask": prediction.masks,
            "raw_score": prediction.scores,
        }
        return {name: value.numpy() for name, value in found.items()}

    return judge


def by_openvino(model: ov.CompiledModel, network: Network, postprocess: Postprocess) -> Judge:
    """Let a compiled graph judge; of one that gives raw maps only, let the postprocess decide."""
    from anomalib_flows.runtime.network import explained  # takes OpenVINO, an optional extra

    convert, request = graph_input(network), model.create_infer_request()

    def judge(image: Tensor) -> dict[str, Array]:
        with explained("The exported model", "CPU"):
            found = request.infer({0: convert(image)})
        named = {name: values for output, values in found.items() for name in output.get_names()}
        return decided(named["raw_map"], postprocess) if "raw_map" in named else named

    return judge


def by_torch(program: Any, network: Network, names: tuple[str, ...]) -> Judge:
    """Let a program of ``torch.export`` judge."""
    convert, module = graph_input(network), program.module()

    def judge(image: Tensor) -> dict[str, Array]:
        with torch.no_grad():
            found = module(torch.from_numpy(convert(image)))
        return {name: value.numpy() for name, value in zip(names, found, strict=True)}

    return judge


def decided(maps: Array, postprocess: Postprocess) -> dict[str, Array]:
    """Decide on raw maps (1, 1, H, W)."""
    decisions = Decision(postprocess)(torch.from_numpy(maps.copy()))
    return {name: value.numpy() for name, value in decisions._asdict().items()}
