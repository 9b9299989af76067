"""Facts in the ``rt_info`` of an exported graph: for our runtime, and for OpenVINO Model API."""

from __future__ import annotations

import hashlib
from typing import cast

import openvino as ov

from anomalib_flows import __version__
from anomalib_flows.core import registry
from anomalib_flows.core.types import Precision
from anomalib_flows.export.exporter import INFERENCE_PRECISION, ExportJob
from anomalib_flows.models.postprocess import Postprocess
from anomalib_flows.run.config import TrainConfig
from anomalib_flows.runtime.model_card import ModelCard


def make_card(job: ExportJob, postprocess: Postprocess) -> ModelCard:
    """Return the card of an exported model.

    Args:
        job: The pipeline and the options.
        postprocess: Constants of the graph; those of INT8 differ from the pipeline's.
    """
    pipeline, options, metrics = job.pipeline, job.options, job.run.metrics()
    dataset, subset = dataset_names(job.config)
    nchw = options.interface == "anomalib" or not options.input.preprocessing
    return ModelCard(
        version=__version__,
        interface=options.interface,
        precision=cast("Precision", options.precision),
        inference_precision=INFERENCE_PRECISION,
        model=registry.name_of("models", type(pipeline.detector)),
        backbone=str(pipeline.detector.init_args.get("backbone", "")),
        config=hashlib.sha256(job.run.config_file.read_bytes()).hexdigest(),
        dataset=dataset,
        subset=subset,
        protocol=pipeline.protocol,
        image_size=pipeline.detector.image_size,
        resize=pipeline.preprocess.mode,
        input_layout="NCHW" if nchw else options.input.layout,
        channels=options.input.channels,
        resizes="yes" if options.input.preprocessing else "no",
        false_alarm_rate=job.config.false_alarm_rate,
        image_threshold=float(postprocess.image_threshold),
        pixel_threshold=float(postprocess.pixel_threshold),
        typical=float(postprocess.typical),
        score_typical=float(postprocess.typical_score),
        calibration_scores=tuple(postprocess.calibration_scores.tolist()),
        calibration_maxima=tuple(postprocess.calibration_maxima.tolist()),
        metrics={"measured_with": "trained model", **metrics} if metrics else {},
    )


def dataset_names(config: TrainConfig) -> tuple[str, str]:
    """Return the name of a run's dataset and of its subset; both are empty for imported models without a dataset."""
    if config.data is None:
        return "", ""
    dataset = config.data.build("datasets")
    return dataset.name, dataset.subset


def describe_for_model_api(model: ov.Model, card: ModelCard) -> None:
    """Write what OpenVINO Model API needs: images are not preprocessed, and how raw maps become decisions.

    Args:
        model: The graph.
        card: Its card.

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
