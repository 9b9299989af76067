"""Fit what a pipeline takes from images beside its trained weights: statistics, scales, constants, thresholds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from anomalib_flows.core.conformal import require_rate, threshold_rank, warn_if_too_few
from anomalib_flows.core.types import Sample
from anomalib_flows.inference.runner import PipelineRunner
from anomalib_flows.models.base import Features
from anomalib_flows.models.pipeline import Pipeline, hide_padding
from anomalib_flows.models.postprocess import Postprocess
from anomalib_flows.run.decision import AREAS, ThresholdRule

FOR_RATE = ThresholdRule()
LOCAL_SCALE_IMAGES = 128
"""Limit of the training images that fit the local scale."""


def fit_statistics(runner: PipelineRunner, samples: Sequence[Sample]) -> None:
    """Fit the statistics of a detector to the features of all training images, before training."""
    _fit(runner.pipeline.detector.fit_statistics, runner, samples, "Encoding")


def fit_local_scale(runner: PipelineRunner, samples: Sequence[Sample]) -> None:
    """Fit the local scale of a trained detector to the likelihoods of some training images."""
    count = min(len(samples), LOCAL_SCALE_IMAGES)
    some = [samples[i * len(samples) // count] for i in range(count)]
    _fit(runner.pipeline.detector.fit_local_scale, runner.exact, some, "Fitting the local scale")


def fit_constants(runner: PipelineRunner, samples: Sequence[Sample]) -> None:
    """Set the constants of a detector's maps from images; a detector without constants encodes none."""
    _fit(runner.pipeline.detector.calibrate, runner, samples, "Normalising")


def _fit(
    fit: Callable[[Iterator[Features]], None], runner: PipelineRunner, samples: Sequence[Sample], title: str
) -> None:
    with runner.memory_explained():
        fit(batch.features for batch in runner.encode(samples, title))
    runner.pipeline.detector.cpu()


def calibrate_pipeline(
    runner: PipelineRunner, samples: Sequence[Sample], false_alarm_rate: float, rule: ThresholdRule = FOR_RATE
) -> None:
    """Set the constants and thresholds of a pipeline from normal images that it was not trained on."""
    pipeline, exact = runner.pipeline, runner.exact
    pipeline.protocol = "calibrated"
    pipeline.threshold_source = "false-alarm-rate" if rule.image is None else "hand"
    fit_constants(exact, samples)
    maps = []
    with exact.memory_explained():
        for batch in exact.encode(samples, "Calibrating"):
            with torch.inference_mode():
                maps.append(hide_padding(pipeline.maps_of(batch.features).cpu(), batch.contents))
    calibrate_postprocess(pipeline.postprocess, torch.cat(maps), false_alarm_rate, rule)


def conformal_threshold(scores: Tensor, false_alarm_rate: float) -> Tensor:
    r"""Return the threshold above which a normal image lies with at most the given probability.

    With n exchangeable normal scores this is the k-th largest, :math:`k = \lfloor \alpha (n + 1) \rfloor`: a score
    lies above it exactly if its conformal p-value is at most :math:`\alpha`. With too few images for the rate
    (k = 0) it is the largest. The scores, of shape (n,), are those of images that were not trained on.

    References:
        Distribution-free predictive inference (Lei et al., 2018), https://arxiv.org/abs/1604.04173, section 2.2.
    """
    place = max(1, threshold_rank(len(scores), false_alarm_rate))
    return scores.sort(descending=True).values[place - 1]


def calibrate_postprocess(
    postprocess: Postprocess, maps: Tensor, false_alarm_rate: float, rule: ThresholdRule = FOR_RATE
) -> None:
    """Set scores and thresholds of a postprocess from the raw maps (n, M, H, W) of normal images."""
    set_scores(postprocess, maps)
    set_thresholds(postprocess, false_alarm_rate, rule)


def set_scores(postprocess: Postprocess, maps: Tensor) -> None:
    """Store the scores and the typical value of raw maps: the first map is shown, the last one scores the image."""
    shown = maps[:, :1]
    postprocess.calibration_scores = postprocess.scores(maps).sort().values
    postprocess.calibration_maxima = shown.flatten(1).amax(1).sort().values
    postprocess.calibration_tops = torch.stack([top_values(one) for one in shown], 1).sort().values
    postprocess.typical = shown.median()


def top_values(shown: Tensor) -> Tensor:
    """Return the values of a map that each area above 0 lies above, see :meth:`Postprocess.calibration_levels`."""
    places = [math.floor(area * shown.numel() / 100 + 1e-9) for area in AREAS[1:]]
    return shown.flatten().topk(places[-1] + 1).values[places]


def set_thresholds(postprocess: Postprocess, false_alarm_rate: float, rule: ThresholdRule = FOR_RATE) -> None:
    """Set the thresholds for a false-alarm rate from the calibration scores that the model keeps.

    Without a ``mask_area`` the pixel threshold is that of the maps' maxima, so that masks have the same false-alarm
    rate as images. If the image score is the maximum of the shown map, both thresholds are equal, and a mask is empty
    exactly if the image is normal. Thresholds by hand are moved from there, and promise no rate.
    """
    require_rate(false_alarm_rate)
    scores = postprocess.calibration_scores
    if rule.image is None:  # a threshold by hand promises no rate
        warn_if_too_few(len(scores), false_alarm_rate)
    postprocess.image_threshold = conformal_threshold(scores, false_alarm_rate)
    set_pixel_threshold(postprocess, false_alarm_rate, rule.mask_area)
    postprocess.move_thresholds(rule.image, rule.pixel)


def set_pixel_threshold(postprocess: Postprocess, false_alarm_rate: float, mask_area: float) -> None:
    """Set the pixel threshold that normal maps exceed with more than an area, in percent, at a false-alarm rate."""
    levels = postprocess.calibration_levels(mask_area)
    postprocess.pixel_threshold = conformal_threshold(levels, false_alarm_rate)


def places(pipeline: Pipeline, false_alarm_rate: float, mask_area: float) -> tuple[float | None, float | None]:
    """Return image and pixel threshold in the units of a :class:`ThresholdRule`; None for those of the rate."""
    post = pipeline.postprocess
    image = conformal_threshold(post.calibration_scores, false_alarm_rate)
    pixel = conformal_threshold(post.calibration_levels(mask_area), false_alarm_rate)
    promised = pipeline.threshold_source == "false-alarm-rate"
    return (
        None if promised else place(post.image_threshold, post.typical_score, image),
        None if post.pixel_threshold == pixel else place(post.pixel_threshold, post.typical, pixel),
    )


def place(threshold: Tensor, zero: Tensor, half: Tensor) -> float:
    """Return a threshold in units in which ``zero`` is 0 and ``half`` 0.5, as exact as float32 is."""
    if half <= zero:  # constant maps
        return 0.5
    return float(f"{float(0.5 * (threshold.double() - zero) / (half.double() - zero)):.7g}")
