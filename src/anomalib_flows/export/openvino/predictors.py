"""Compiled graphs of OpenVINO as functions from an image to its result."""

from __future__ import annotations

from pathlib import Path

import openvino as ov
from torch import Tensor

from anomalib_flows.core.types import ImageResult
from anomalib_flows.export.exporter import INFERENCE_PRECISION
from anomalib_flows.export.network import Network
from anomalib_flows.export.predictors import PredictImage, content_of, graph_input, to_result
from anomalib_flows.models.postprocess import Postprocess
from anomalib_flows.runtime.network import inference_errors


def compile_model(model: ov.Model | Path, precision: str | None = INFERENCE_PRECISION) -> ov.CompiledModel:
    """Compile a graph or a file for the CPU; a precision of None is the default of the device."""
    hint = {"PERFORMANCE_HINT": "LATENCY"} | ({"INFERENCE_PRECISION_HINT": precision} if precision else {})
    with inference_errors(model if isinstance(model, Path) else "The exported model", "CPU"):
        return ov.Core().compile_model(model, "CPU", hint)


def openvino_predictor(model: ov.CompiledModel, network: Network, postprocess: Postprocess) -> PredictImage:
    """Return a function that predicts with a compiled graph; the postprocess decides if it returns raw maps only."""
    request = model.create_infer_request()

    def predict(image: Tensor) -> ImageResult:
        with inference_errors("The exported model", "CPU"):
            outputs = request.infer({0: graph_input(image, network)})
        named = {name: values for output, values in outputs.items() for name in output.get_names()}
        return to_result(named, content_of(image, network), postprocess)

    return predict


def file_predictors(file: Path, network: Network, postprocess: Postprocess) -> dict[str, PredictImage]:
    """Read a file again, and return functions that predict with it, by inference precision.

    The first one is the intended precision, the second the default of the device, if that is another.
    """
    predictors: dict[str, PredictImage] = {}
    for precision in (INFERENCE_PRECISION, None):
        model = compile_model(file, precision)
        name = precision or model.get_property("INFERENCE_PRECISION_HINT").to_string()
        predictors.setdefault(name, openvino_predictor(model, network, postprocess))
    return predictors
