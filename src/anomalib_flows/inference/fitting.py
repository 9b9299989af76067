"""Fit what a pipeline takes from images beside its trained weights: statistics, scales, constants, thresholds."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from anomalib_flows.core.types import Sample
from anomalib_flows.inference.calibration import calibrate_postprocess
from anomalib_flows.inference.runner import PipelineRunner
from anomalib_flows.models.pipeline import hide_padding

LOCAL_SCALE_IMAGES = 128
"""Limit of the training images that fit the local scale."""


def fit_statistics(runner: PipelineRunner, samples: Sequence[Sample]) -> None:
    """Fit the statistics of a detector to the features of all training images, before training."""
    detector = runner.pipeline.detector
    detector.fit_statistics(batch.features for batch in runner.encode(samples, "Encoding"))
    detector.cpu()


def fit_local_scale(runner: PipelineRunner, samples: Sequence[Sample]) -> None:
    """Fit the local scale of a trained detector to the likelihoods of some training images."""
    detector, count = runner.pipeline.detector, min(len(samples), LOCAL_SCALE_IMAGES)
    some = [samples[i * len(samples) // count] for i in range(count)]
    detector.fit_local_scale(batch.features for batch in runner.exact.encode(some, "Fitting the local scale"))
    detector.cpu()


def fit_constants(runner: PipelineRunner, samples: Sequence[Sample]) -> None:
    """Set the constants of a detector's maps from images; a detector without constants encodes none."""
    detector = runner.pipeline.detector
    detector.calibrate(batch.features for batch in runner.encode(samples, "Normalising"))
    detector.cpu()


def calibrate_pipeline(runner: PipelineRunner, samples: Sequence[Sample], false_alarm_rate: float) -> None:
    """Set the constants and thresholds of a pipeline from normal images that it was not trained on."""
    pipeline, exact = runner.pipeline, runner.exact
    pipeline.protocol = "calibrated"
    fit_constants(exact, samples)
    maps = []
    for batch in exact.encode(samples, "Calibrating"):
        with torch.inference_mode():
            maps.append(hide_padding(pipeline.maps_of(batch.features).cpu(), batch.contents))
    calibrate_postprocess(pipeline.postprocess, torch.cat(maps), false_alarm_rate)
