"""``anomalib-flows train``: from images to a tested detector."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from anomalib_flows.commands.command import Command
from anomalib_flows.commands.summary import print_summary
from anomalib_flows.core.types import Sample, Split
from anomalib_flows.run.config import TrainConfig

if TYPE_CHECKING:
    from collections.abc import Iterable


def train(config: TrainConfig, resume: Path | None = None) -> None:
    """Train a detector on normal images, set its thresholds, and test it if there are test images.

    Args:
        config: The configuration of the run.
        resume: Run directory to continue after its last whole epoch, with its own configuration as defaults.
    """
    from anomalib_flows.data.splits.splits import read_splits
    from anomalib_flows.experiment.train import train as run_training

    run = run_training(config, resume)
    print(counts(read_splits(run.splits_file)))
    print_summary(run)


def counts(samples: Iterable[Sample]) -> str:
    """Return how many images each split has.

    Example:
        >>> counts([Sample(Path("1.png"), "train"), Sample(Path("2.png"), "train"), Sample(Path("3.png"), "test")])
        'Images: 2 train, 1 test.'
    """
    counted = Counter(sample.split for sample in samples)
    return f"Images: {', '.join(f'{counted[split]} {split}' for split in get_args(Split) if counted[split])}."


COMMAND = Command(
    "train",
    "train a detector on normal images, and test it",
    train,
    order=10,
    config=True,
    run="resume",
    from_run=tuple(field.name for field in fields(TrainConfig)),
    required=("data",),
)
