"""Set the image threshold by photos of known defects, of which at most some may be missed."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import torch
from torch import Tensor

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.types import ANOMALOUS, Sample
from anomalib_flows.data.checks.checking import check
from anomalib_flows.data.listing import find_photos
from anomalib_flows.data.splits import known_to
from anomalib_flows.inference.runner import PipelineRunner
from anomalib_flows.run.directory import Run

SHOWN = 64
"""Largest number of images that the present model decides on before it is calibrated with them."""
logger = logging.getLogger(__name__)


def find_defects(run: Run, folder: Path) -> list[Sample]:
    """List photos of defects; none of them may be known to the run as a good image."""
    source = find_photos("defects", folder, good=False)
    found = [Sample(path.absolute(), "threshold", ANOMALOUS, source.kind(path)) for path in source.images]
    if known := known_to(run.splits_file, found, lambda s: s.label != ANOMALOUS):
        raise InputError(
            f"`defects` {folder} holds {len(known)} images that the run lists as good, such as {known[0].path}: name a "
            "folder of defective images only."
        )
    return found


def set_by_defects(runner: PipelineRunner, defects: list[Sample], max_missed: int) -> list[Sample]:
    """Set the image threshold to the highest one that misses at most so many defects; return those that were read.

    Raises:
        InputError: If all defects may be missed, or the threshold would call every normal image anomalous.
    """
    read = check(defects, runner.loader.on_error, runner.loader.max_megapixels)
    if max_missed >= len(read):
        raise InputError(
            f"`max_missed` {max_missed} lets all {len(read)} photos of `defects` be missed: allow fewer, or give more."
        )
    postprocess = runner.pipeline.postprocess
    scores = torch.tensor([result.raw_score for result in runner.predict(read)])
    threshold = highest_threshold(scores, max_missed)
    if not threshold > postprocess.typical_score:
        raise InputError(
            f"No useful threshold misses at most {max_missed} of the {len(read)} photos of `defects`: it would call "
            "every normal image anomalous; allow more in `max_missed`, or train a better detector."
        )
    postprocess.image_threshold = threshold
    runner.pipeline.threshold_source = "defects"
    missed = int((scores <= threshold).sum())
    logger.info(
        "The threshold misses %d of the %d known defects. New ones like these are missed with at most %.2g %% chance.",
        *(missed, len(read), 100 * (max_missed + 1) / (len(read) + 1)),
    )
    warnings.warn(
        f"The {len(read)} photos of `defects` set the threshold, so they cannot test it: tests leave them out.",
        UserWarning,
        stacklevel=3,
    )
    return read


def warn_of_alarms(runner: PipelineRunner, images: list[Sample], false_alarm_rate: float) -> None:
    """Warn if the present model finds most of the images of a new calibration anomalous: they may be defective.

    A line may also have changed, so that they are good, and this is what they are for.
    """
    postprocess = runner.pipeline.postprocess
    if not postprocess.calibrated or runner.pipeline.protocol == "paper":
        return
    count = min(len(images), SHOWN)
    some = [images[i * len(images) // count] for i in range(count)]
    rate = max(false_alarm_rate, 1 / (postprocess.calibration_size + 1))
    if 2 * (found := sum(result.p_value <= rate + 1e-6 for result in runner.predict(some))) > count > 1:
        warnings.warn(
            f"{found} of {count} images of this calibration are as anomalous as at most {rate:.2g} of good images were "
            "so far. If they show defects, the new threshold misses such defects: look at them, and calibrate again.",
            UserWarning,
            stacklevel=4,
        )


def highest_threshold(scores: Tensor, max_missed: int) -> Tensor:
    r"""Return the highest threshold that at most so many scores of defects, of shape (m,), are not above.

    It is the number below the (k + 1)-th smallest of the m scores, k being the number that may be missed. A new defect
    that is exchangeable with these is missed with a probability of at most :math:`(k + 1) / (m + 1)`.
    """
    return torch.nextafter(scores.sort().values[max_missed], torch.tensor(-torch.inf))
