"""What an exported graph says of itself: to our runtime, and to OpenVINO Model API."""

from __future__ import annotations

import hashlib

import openvino as ov

from anomalib_flows import __version__
from anomalib_flows.core import registry
from anomalib_flows.core.types import Interface, Precision
from anomalib_flows.data.datasets.base import Dataset
from anomalib_flows.export.exported import INFERENCE_PRECISION
from anomalib_flows.export.network import InputOptions
from anomalib_flows.models.pipeline import Pipeline
from anomalib_flows.models.postprocess import Postprocess
from anomalib_flows.run.directory import Run
from anomalib_flows.runtime.card import Card


def make_card(
    run: Run,
    data: Dataset,
    pipeline: Pipeline,
    interface: Interface,
    precision: Precision,
    options: InputOptions,
    postprocess: Postprocess,
) -> Card:
    """Gather the facts about an export, with the constants that it decides by."""
    return Card(
        version=__version__,
        interface=interface,
        precision=precision,
        inference_precision=INFERENCE_PRECISION,
        model=registry.name_of("models", type(pipeline.detector)),
        backbone=str(pipeline.detector.init_args.get("backbone", "")),
        config=hashlib.sha256(run.config_file.read_bytes()).hexdigest(),
        dataset=data.name,
        subset=data.subset,
        protocol=pipeline.protocol,
        image_size=pipeline.detector.image_size,
        resize=pipeline.preprocess.mode,
        input_layout="NCHW" if interface == "anomalib" or not options.preprocessing else options.layout,
        channels=options.channels,
        resizes="yes" if options.preprocessing else "no",
        false_alarm_rate=run.config()["false_alarm_rate"],
        image_threshold=float(postprocess.image_threshold),
        pixel_threshold=float(postprocess.pixel_threshold),
        typical=float(postprocess.typical),
        score_typical=float(postprocess.typical_score),
        calibration_scores=tuple(postprocess.calibration_scores.tolist()),
        calibration_maxima=tuple(postprocess.calibration_maxima.tolist()),
        metrics={"measured_with": "trained model", **metrics} if (metrics := run.metrics()) else {},
    )


def describe_for_model_api(model: ov.Model, card: Card) -> None:
    """Tell OpenVINO Model API what it needs: that images go in as they are, and how raw maps become decisions.

    References:
        ``AnomalyDetection`` and ``ImageModel`` of openvino-model-api 0.4.
    """
    height, width = card.image_size
    facts = {
        "model_type": "AnomalyDetection",
        "task": "segmentation",
        "labels": "Normal Anomaly",
        "image_threshold": card.pixel_threshold,  # it scores an image by the highest pixel
        "pixel_threshold": card.pixel_threshold,
        "normalization_scale": 2 * (card.pixel_threshold - card.typical),
        "embedded_processing": True,
        "orig_height": height,
        "orig_width": width,
        "reverse_input_channels": False,
    }
    for key, value in facts.items():
        model.set_rt_info(str(value), ["model_info", key])
