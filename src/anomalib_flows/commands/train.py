"""``anomalib-flows train``: from images to a tested detector."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from anomalib_flows.commands.command import ALL, Command
from anomalib_flows.commands.next_step import after_training, next_step
from anomalib_flows.commands.runs import aligned
from anomalib_flows.commands.summary import print_summary
from anomalib_flows.core.errors import InputError
from anomalib_flows.core.shell import typed

if TYPE_CHECKING:
    from anomalib_flows.experiment.categories import CategoryResults
    from anomalib_flows.run.config import TrainConfig


def train(config: TrainConfig, resume: Path | None = None, name: str | None = None, trust: bool = False) -> None:
    """Train a detector on normal images, set its thresholds, and test it if there are test images.

    A dataset of categories without --data.category trains and tests a detector of each category, and prints the table
    of their metrics.

    Args:
        config: The configuration of the run.
        resume: Run directory to continue after its last kept epoch, or folder of the table of all categories. Its
            configuration gives the defaults.
        name: Name of the new run directory; by default run-001 (all-001 with all categories), or the next free number.
        trust: Import models and datasets that a configuration names and no installed package registers, which runs
            their code.
    """
    from anomalib_flows.experiment.categories import categories_of, train_each
    from anomalib_flows.experiment.train import train as run_training

    if categories := categories_of(config, trust=trust):
        conclude(train_each(config, categories, resume, name, trust=trust))
        return
    run = run_training(config, resume, name, trust=trust)
    print_summary(run)
    print(f"\n{after_training(run.path)}")


def conclude(trained: CategoryResults) -> None:
    """Print the table of all categories; raise an InputError if one of them failed."""
    from anomalib_flows.experiment.categories import RESULTS, TABLE

    print(f"\n{aligned(trained.rows(), left=(0,))}\n\ntable        {trained.folder / TABLE}")
    if trained.failed:
        raise InputError(
            f"{len(trained.failed)} of {len(trained.results)} categories failed ({', '.join(trained.failed)}), see "
            f"{trained.folder / RESULTS}; to try these again, type: {typed('train', '--resume', trained.folder)}"
        )
    print(f"\n{next_step('runs', trained.folder.parent)}")


COMMAND = Command(
    "train",
    "train a detector on normal images, and test it",
    train,
    order=10,
    config=True,
    run="resume",
    from_run=ALL,
    required=("model", "data"),
    records="anomalib_flows.run.config",
)
