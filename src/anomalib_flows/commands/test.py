"""``anomalib-flows test``: metrics and figures of a trained detector."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from anomalib_flows.commands.command import Command
from anomalib_flows.commands.next_step import after_results, after_test
from anomalib_flows.commands.summary import print_summary

if TYPE_CHECKING:
    from anomalib_flows.experiment.options import TestOptions


def test(run: Path, options: TestOptions, trust: bool = False) -> None:
    """Test a trained detector again, and replace the metrics, predictions and figures of its run.

    Images that the run was trained, calibrated or validated with are left out, even if the dataset now lists them as
    test images.

    Args:
        run: Run directory that 'train' wrote, or exported model (.xml), which needs --data and --output.
        options: How the detector is tested.
        trust: Import models and datasets that the run names and no installed package registers, which runs their code.
    """
    from anomalib_flows.experiment.test import test as run_test

    tested = run_test(run, options, trust=trust)
    print_summary(tested, validated=validation_is_complete(run), disturbed=options.disturb.active)
    print(f"\n{after_test(run) if tested.config_file.is_file() else after_results(tested.report_file)}")


def validation_is_complete(run: Path) -> bool:
    """Return whether the validation images of a run are still there, so that its validation was computed again."""
    from anomalib_flows.data.splits import read_splits
    from anomalib_flows.run.directory import Run

    file = Run(run).splits_file
    return file.is_file() and all(s.path.is_file() for s in read_splits(file) if s.split == "validation")


COMMAND = Command(
    "test",
    "test a trained detector again",
    test,
    order=20,
    from_run=("data", "loader", "pictures"),
    records="anomalib_flows.experiment.options",
    newest=True,
)
