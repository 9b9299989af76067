"""ONNX, written by torch and compared by OpenVINO."""

from __future__ import annotations

import time
import warnings
from pathlib import Path
from typing import Any

import torch

from anomalib_flows.core.errors import InputError, first_line
from anomalib_flows.core.types import Interface, Precision
from anomalib_flows.export.exporter import INFERENCE_PRECISION, Exported, ExportJob
from anomalib_flows.export.network import GraphOutputs
from anomalib_flows.export.options import FolderLayout
from anomalib_flows.export.programs import export_program


class ONNXExporter:
    """Write an ONNX file."""

    suffix = ".onnx"
    precisions: tuple[Precision, ...] = ("fp32",)
    interfaces: tuple[Interface, ...] = ("native",)
    layouts: tuple[FolderLayout, ...] = ("folder", "ovms")
    modules: tuple[str, ...] = ("openvino", "onnx", "onnxscript")
    extra = "onnx"

    def write(self, job: ExportJob, file: Path) -> Exported:
        """Write a file, and read it with OpenVINO."""
        from anomalib_flows.export.openvino.predictors import compile_model, openvino_predictor  # an optional extra

        start = time.perf_counter()
        save(export_program(job.network, job.pipeline.postprocess), file)
        seconds = time.perf_counter() - start
        compiled = compile_model(file, INFERENCE_PRECISION)
        predict = openvino_predictor(compiled, job.network, job.pipeline.postprocess)
        return Exported(predictors={INFERENCE_PRECISION: predict}, seconds=seconds)


def save(program: Any, file: Path) -> None:
    """Write a program of ``torch.export`` as ONNX."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                program,
                f=str(file),
                dynamo=True,
                verbose=False,
                external_data=False,
                output_names=list(GraphOutputs._fields),
            )
    except Exception as error:
        raise InputError(f"This model cannot be written as ONNX: {first_line(error)}") from error


EXPORTER = ONNXExporter()
