"""``anomalib-flows calibrate``: thresholds for another false-alarm rate or from other images, without training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from anomalib_flows.commands.command import Command

if TYPE_CHECKING:
    from anomalib_flows.experiment.options import CalibrateOptions


def calibrate(run: Path, options: CalibrateOptions) -> None:
    """Set the thresholds of a trained detector for a false-alarm rate, and its constants if images are given.

    Args:
        run: Run directory that 'train' wrote.
        options: How thresholds are set.
    """
    from anomalib_flows.experiment.calibrate import calibrate as run_calibration
    from anomalib_flows.run.directory import Run

    postprocess = run_calibration(run, options).postprocess
    if Run.open(run).metrics():
        print("The run's metrics are those of its former threshold: 'anomalib-flows test' computes them again.")
    count = len(postprocess.calibration_scores)
    rate = max(options.false_alarm_rate or 0, 1 / (count + 1))
    print(
        f"Threshold {float(postprocess.image_threshold):.6g}, for a false-alarm rate of {rate:.2g}, from the scores of "
        f"{count} normal images."
    )


COMMAND = Command(
    "calibrate",
    "set thresholds for another false-alarm rate",
    calibrate,
    order=50,
    from_run=("loader", "false_alarm_rate"),
    records="anomalib_flows.experiment.options",
)
