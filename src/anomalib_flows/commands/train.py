"""``anomalib-flows train``: from images to a tested detector."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast

from anomalib_flows.commands.summary import print_summary
from anomalib_flows.core.types import ImageSize, Protocol
from anomalib_flows.data.datasets.base import Dataset
from anomalib_flows.models.options import Model
from anomalib_flows.results.figures import PICTURES
from anomalib_flows.run.directory import Run
from anomalib_flows.run.options import AugmentOptions, HeatmapOptions, TrainerOptions


def train(
    model: Callable[[ImageSize], Model],
    data: Dataset,
    trainer: TrainerOptions = TrainerOptions(),  # noqa: B008 (frozen)
    heatmap: HeatmapOptions = HeatmapOptions(),  # noqa: B008 (frozen)
    augment: AugmentOptions = AugmentOptions(),  # noqa: B008 (frozen)
    false_alarm_rate: float = 0.01,
    protocol: Protocol = "calibrated",
    seed: int = 0,
    output: Path = Path("results"),
    resume: Path | None = None,
    pictures: int = PICTURES,
) -> Run:
    """Train a detector on normal images, set its thresholds, and test it where there is a test split.

    Args:
        model: Name of the model, see 'anomalib-flows list models'; its options follow as --model.OPTION.
        data: Name of the dataset, see 'anomalib-flows list datasets'; its options follow as --data.OPTION.
        trainer: How long and on what to train.
        heatmap: How maps become scores.
        augment: How far training images are changed at random, otherwise in each epoch.
        false_alarm_rate: Share of normal images that may be called anomalous.
        protocol: 'paper' trains on all normal training images and chooses constants and thresholds on the test
            images, as published tables do: for comparison with these only.
        seed: Decides the initial weights, the order and the changes of the images, and which are held out.
        output: Where run directories are made.
        resume: Run directory to go on with, after its last whole epoch and with its options.
        pictures: Of how many test images a picture is drawn, at most; 0 for none. Half of them are of anomalous images
            as far as there are enough, each half evenly apart in the order of the files.

    Returns:
        The run directory.

    Raises:
        InputError: If an option or a file cannot be used.
    """
    # Torch and what takes it are slow to import, which --help and mistakes have no use for.
    from anomalib_flows.experiment.train import run_experiment
    from anomalib_flows.models.base import Detector

    detector = cast("Callable[[ImageSize], Detector]", model)
    run = run_experiment(
        detector, data, trainer, heatmap, augment, false_alarm_rate, protocol, seed, output, resume, pictures
    )
    print_summary(run)
    return run
