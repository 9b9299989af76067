"""``anomalib-flows calibrate``: other thresholds, without training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from anomalib_flows.commands.command import Command
from anomalib_flows.commands.next_step import after_calibration
from anomalib_flows.core.conformal import UNPROMISED, promised_rate
from anomalib_flows.results.decisions import share

if TYPE_CHECKING:
    from anomalib_flows.experiment.options import CalibrateOptions
    from anomalib_flows.models.pipeline import Pipeline


def calibrate(run: Path, options: CalibrateOptions, trust: bool = False) -> None:
    """Set the thresholds of a trained detector: for a false-alarm rate, by hand or by known defects.

    Images set its constants as well. Unless one is set by hand or by defects, both thresholds become those of the
    false-alarm rate.

    Args:
        run: Run directory that 'train' wrote.
        options: How thresholds are set.
        trust: Import models and datasets that the run names and no installed package registers, which runs their code.
    """
    from anomalib_flows.experiment.calibrate import calibrate as run_calibration
    from anomalib_flows.run.directory import Run

    pipeline, opened = run_calibration(run, options, trust=trust), Run.open(run, trust=trust)
    config = opened.config()
    print(threshold_line(pipeline, config.false_alarm_rate))
    if config.pixel_threshold is not None:
        pixel = float(pipeline.postprocess.pixel_threshold)
        print(f"Pixel threshold 0.5 (raw value {pixel:.6g}): no rate is promised for masks, as it was set by hand.")
    if opened.metrics():
        print("The run's metrics are those of its former threshold: a test computes them again.")
    print(f"\n{after_calibration(run)}")


def threshold_line(pipeline: Pipeline, false_alarm_rate: float) -> str:
    """Say where the image threshold is, and what it promises; if nothing, its place among the calibration scores."""
    from anomalib_flows.results.metrics.counts import counted

    post = pipeline.postprocess
    count, above = post.calibration_size, int((post.calibration_scores > post.image_threshold).sum())
    rate = promised_rate(count, false_alarm_rate, pipeline.protocol, pipeline.threshold_source)
    named = f"Threshold 0.5 (raw score {float(post.image_threshold):.6g})"
    if rate is not None:
        return f"{named}, for a false-alarm rate of {rate:.2g}, from the scores of {count} normal images."
    found, p_value = share(counted(above, count), "calibration images"), post.p_values(post.image_threshold[None])
    return (
        f"{named}: {UNPROMISED[pipeline.threshold_source]}. Above it are {found}; its p-value is {float(p_value):.2g}."
    )


COMMAND = Command(
    "calibrate",
    "set thresholds: for another false-alarm rate, by hand, by defects",
    calibrate,
    order=50,
    from_run=("loader", "false_alarm_rate", "decision"),
    records="anomalib_flows.experiment.options",
)
