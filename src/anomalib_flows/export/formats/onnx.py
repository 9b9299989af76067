"""ONNX, written by torch and compared by OpenVINO."""

from __future__ import annotations

import time
import warnings
from pathlib import Path
from typing import Any

import torch

from anomalib_flows.core.errors import InputError, first_line
from anomalib_flows.export.exporter import INFERENCE_PRECISION, Exported, Exporter, ExportJob
from anomalib_flows.export.network import GraphOutputs, export_program


def write_onnx(job: ExportJob, file: Path) -> Exported:
    """Write a file, and read it with OpenVINO."""
    from anomalib_flows.export.openvino.predictors import compile_model, openvino_predictor  # an optional extra

    start = time.perf_counter()
    program, names = export_program(job.network, job.pipeline.postprocess), list(GraphOutputs._fields)
    options: dict[str, Any] = {"dynamo": True, "verbose": False, "external_data": False}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(program, f=str(file), output_names=names, **options)
    except Exception as error:
        raise InputError(f"This model cannot be written as ONNX: {first_line(error)}") from error
    seconds = time.perf_counter() - start
    predict = openvino_predictor(compile_model(file, INFERENCE_PRECISION), job.network, job.pipeline.postprocess)
    return Exported(predictors={INFERENCE_PRECISION: predict}, seconds=seconds)


EXPORTER = Exporter(
    suffix=".onnx",
    precisions=("fp32",),
    write=write_onnx,
    layouts=("folder", "ovms"),
    modules=("openvino", "onnx", "onnxscript"),
)
