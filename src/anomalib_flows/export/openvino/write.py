"""Write a calibrated pipeline as a graph of OpenVINO, with facts in its ``rt_info``: for our runtime and Model API."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Any, cast

import openvino as ov

from anomalib_flows import __version__
from anomalib_flows.core import registry
from anomalib_flows.core.types import Precision
from anomalib_flows.export.exporter import INFERENCE_PRECISION, Exported, ExportJob
from anomalib_flows.export.openvino.graph import build_network, compress_to_fp16, decide, part_bytes
from anomalib_flows.export.openvino.int8 import quantize_and_calibrate
from anomalib_flows.export.openvino.predictors import file_predictors
from anomalib_flows.models.postprocess import Postprocess
from anomalib_flows.runtime.digest import save_sealed
from anomalib_flows.runtime.model_card import ModelCard, write_card


def write_openvino(job: ExportJob, file: Path) -> Exported:
    """Write a graph, and read it again."""
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
    save_sealed(model, file)
    seconds += time.perf_counter() - start
    return Exported(
        predictors=file_predictors(file, job.network, postprocess),
        seconds=seconds,
        sizes=part_bytes(model),
        quantization=quantization,
    )


def make_card(job: ExportJob, postprocess: Postprocess) -> ModelCard:
    """Return the card of a model with the constants of its graph; those of INT8 differ from the pipeline's."""
    pipeline, options, metrics = job.pipeline, job.options, job.run.metrics()
    dataset = job.config.data.build("datasets") if job.config.data else None  # imported models may have none
    nchw = options.interface == "anomalib" or not options.input.preprocessing
    return ModelCard(
        version=__version__,
        interface=options.interface,
        precision=cast("Precision", options.precision),
        inference_precision=INFERENCE_PRECISION,
        model=registry.name_of("models", type(pipeline.detector)),
        backbone=str(pipeline.detector.init_args.get("backbone", "")),
        config=hashlib.sha256(job.run.config_file.read_bytes()).hexdigest(),
        dataset=dataset.name if dataset else "",
        subset=dataset.subset if dataset else "",
        protocol=pipeline.protocol,
        image_size=pipeline.detector.image_size,
        resize=pipeline.preprocess.mode,
        input_layout="NCHW" if nchw else options.input.layout,
        channels=options.input.channels,
        resizes="yes" if options.input.preprocessing else "no",
        threshold_source=pipeline.threshold_source,
        false_alarm_rate=job.config.false_alarm_rate,
        image_threshold=float(postprocess.image_threshold),
        pixel_threshold=float(postprocess.pixel_threshold),
        typical=float(postprocess.typical),
        score_typical=float(postprocess.typical_score),
        calibration_scores=tuple(postprocess.calibration_scores.tolist()),
        calibration_maxima=tuple(postprocess.calibration_levels(job.config.decision.mask_area).tolist()),
        mask_area=job.config.decision.mask_area,
        metrics={"measured_with": "trained model", **metrics} if metrics else {},
    )


def describe_for_model_api(model: ov.Model, card: ModelCard) -> None:
    """Write what OpenVINO Model API needs: images are not preprocessed, and how raw maps become decisions.

    References:
        ``AnomalyDetection`` and ``ImageModel`` of openvino-model-api 0.4.
    """
    height, width = card.image_size
    facts = {
        "model_type": "AnomalyDetection",
        "task": "segmentation",
        "labels": "Normal Anomaly",
        "image_threshold": card.pixel_threshold,  # it scores an image by the maximum of the map
        "pixel_threshold": card.pixel_threshold,
        "normalization_scale": 2 * (card.pixel_threshold - card.typical),
        "embedded_processing": True,
        "orig_height": height,
        "orig_width": width,
        "reverse_input_channels": False,
    }
    for key, value in facts.items():
        model.set_rt_info(str(value), ["model_info", key])
