"""Models that are there to be used: with thresholds, and with a word where these are not for use."""

from __future__ import annotations

import warnings

from anomalib_flows.core.errors import InputError
from anomalib_flows.models import checkpoint
from anomalib_flows.models.pipeline import Pipeline
from anomalib_flows.run.directory import Run


def open_calibrated(run: Run) -> Pipeline:
    """Read the pipeline of a run, and warn of thresholds that were chosen on its test images.

    Raises:
        InputError: If it has no thresholds.
    """
    pipeline = checkpoint.load(run.model_file)
    if not pipeline.postprocess.calibrated:
        raise InputError(f"The model of {run.path} has no thresholds yet: run 'anomalib-flows calibrate {run.path}'.")
    if pipeline.protocol == "paper":
        warnings.warn(
            f"The thresholds of {run.path} were chosen on its test images (--protocol paper): for use, set them with "
            f"'anomalib-flows calibrate {run.path} --images DIR'.",
            UserWarning,
            stacklevel=2,
        )
    return pipeline
