"""``anomalib-flows train``: from images to a tested detector."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from anomalib_flows.commands.command import ALL, Command
from anomalib_flows.commands.next_step import after_training
from anomalib_flows.commands.summary import print_summary

if TYPE_CHECKING:
    from anomalib_flows.run.config import TrainConfig


def train(config: TrainConfig, resume: Path | None = None, name: str | None = None, trust: bool = False) -> None:
    """Train a detector on normal images, set its thresholds, and test it if there are test images.

    Args:
        config: The configuration of the run.
        resume: Run directory to continue after its last kept epoch. Its configuration gives the defaults.
        name: Name of the new run directory; by default run-001, or the next free number.
        trust: Import models and datasets that a configuration names and no installed package registers, which runs
            their code.
    """
    from anomalib_flows.experiment.train import train as run_training

    run = run_training(config, resume, name, trust=trust)
    print_summary(run)
    print(f"\n{after_training(run.path)}")


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
