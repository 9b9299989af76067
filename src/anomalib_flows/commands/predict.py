"""``anomalib-flows predict``: scores, labels, heatmaps and masks of new images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from anomalib_flows.commands.command import Command
from anomalib_flows.commands.next_step import after_results

if TYPE_CHECKING:
    from anomalib_flows.experiment.options import PredictOptions


def predict(run: Path, options: PredictOptions, trust: bool = False, resume: bool = False) -> None:
    """Predict a table of scores, p-values and labels, and a heatmap, overlay and mask of each image.

    Args:
        run: Run directory that 'train' wrote, or exported model (.xml).
        options: What is predicted.
        trust: Import models and datasets that the run names and no installed package registers, which runs their code.
        resume: Continue an unfinished prediction in the folder of the output. Model, images and the options of what
            is written must be the same.
    """
    from anomalib_flows.experiment.predict import predict as run_prediction
    from anomalib_flows.run.directory import Run

    run_prediction(run, options, trust=trust, resume=resume)
    if (report := Run(options.output).report_file).is_file():
        print(f"\n{after_results(report)}")


COMMAND = Command(
    "predict",
    "predict for new images: scores, heatmaps, masks",
    predict,
    order=30,
    from_run=("loader",),
    records="anomalib_flows.experiment.options",
    newest=True,
)
