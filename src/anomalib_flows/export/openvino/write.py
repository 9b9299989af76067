"""Write a calibrated pipeline as a graph of OpenVINO."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import openvino as ov

from anomalib_flows.export.exporter import Exported, ExportJob
from anomalib_flows.export.openvino.graph import build_network, decide
from anomalib_flows.export.openvino.information import describe_for_model_api, make_card
from anomalib_flows.export.openvino.int8 import quantize_and_calibrate
from anomalib_flows.export.openvino.parts import sizes
from anomalib_flows.export.openvino.predictors import file_predictors
from anomalib_flows.export.openvino.storage import compress_to_fp16
from anomalib_flows.runtime.model_card import write_card


def write_openvino(job: ExportJob, file: Path) -> Exported:
    """Write a graph, and read it again.

    Args:
        job: The pipeline and the options.
        file: The ``.xml`` file; the ``.bin`` file goes next to it.

    Raises:
        InputError: If the model cannot be converted, or the interface does not suit it.
    """
    start = time.perf_counter()
    graph, postprocess = build_network(job.network), job.pipeline.postprocess
    seconds = time.perf_counter() - start
    quantization: dict[str, Any] = {}
    if job.options.precision == "int8":
        graph, postprocess, quantization = quantize_and_calibrate(graph, job)
    start = time.perf_counter()
    if job.options.precision == "fp16":
        compress_to_fp16(graph)
    model = decide(graph, postprocess, job.options.interface)
    card = make_card(job, postprocess)
    write_card(model, card)
    if card.interface.startswith("model-api"):
        describe_for_model_api(model, card)
    ov.save_model(model, file, compress_to_fp16=False)
    seconds += time.perf_counter() - start
    return Exported(
        predictors=file_predictors(file, job.network, postprocess),
        seconds=seconds,
        sizes=sizes(model),
        quantization=quantization,
    )
