"""Exported models as functions of an image, to be measured against the trained one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import openvino as ov
import torch
from torch import Tensor

from anomalib_flows.deployment.network import Decision, Network
from anomalib_flows.deployment.parity import Array, Judge
from anomalib_flows.models.postprocess import Postprocess
from anomalib_flows.types import InputError


def graph_input(network: Network) -> Callable[[Tensor], Array]:
    """Make the function that turns an image (3, h, w), uint8, into what the graph of a network takes."""

    def convert(image: Tensor) -> Array:
        if not network.options.preprocessing:
            return network.preprocess.resize(image[None]).numpy()
        if network.options.size not in (None, tuple(image.shape[1:])):
            height, width = image.shape[1:]
            raise InputError(f"--input.size is not that of the run's images, {height} x {width}: leave it out.")
        if network.options.channels == "BGR":
            image = image.flip(0)
        values = image.permute(1, 2, 0) if network.channels_last else image
        array = np.ascontiguousarray(values.numpy())[None]
        return array.astype(np.float32) / 255 if network.unit_floats else array

    return convert


def compiled(model: ov.Model, precision: str | None) -> ov.CompiledModel:
    """Compile a graph for the CPU, in a precision or in the one that the device chooses."""
    hint = {"PERFORMANCE_HINT": "LATENCY"} | ({"INFERENCE_PRECISION_HINT": precision} if precision else {})
    return ov.Core().compile_model(model, "CPU", hint)


def by_openvino(model: ov.CompiledModel, network: Network, postprocess: Postprocess) -> Judge:
    """Let a compiled graph judge; of one that gives raw maps only, let the postprocess decide."""
    convert, request = graph_input(network), model.create_infer_request()

    def judge(image: Tensor) -> dict[str, Array]:
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
