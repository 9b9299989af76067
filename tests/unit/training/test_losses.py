"""The table of losses has each step once, whatever happened on the way, and is bounded."""

import csv
from itertools import pairwise

import numpy as np
import pytest
import torch

from anomalib_flows import FastFlow
from anomalib_flows.core.types import Sample
from anomalib_flows.models.pipeline import Pipeline
from anomalib_flows.run.component import Component
from anomalib_flows.run.config import TrainConfig
from anomalib_flows.run.directory import Run
from anomalib_flows.run.options import LoaderOptions, TrainerOptions
from anomalib_flows.training import callbacks, losses
from anomalib_flows.training import fit as fitting
from anomalib_flows.training.losses import LossCurve
from anomalib_flows.training.module import TrainingModule

STEPS, EPOCHS = 3, 3
"""Steps of an epoch of five images in batches of two."""


@pytest.mark.parametrize("steps", [1, 7, 8, 9, 16, 17, 100, 1000])
def test_rows_are_means_over_equal_blocks(steps: int) -> None:
    curve, values = LossCurve(limit=8), np.random.default_rng(0).normal(size=steps)
    for step, value in enumerate(values, start=1):
        curve.add(step, 1 + (step - 1) // 10, float(value))
    rows = curve.rows()
    assert min(steps, 5) <= len(rows) <= 8
    ends = [0, *(step for step, _, _ in rows)]
    lengths = np.diff(ends)
    assert ends[-1] == steps
    assert set(lengths[:-1]) <= {curve.block}
    assert lengths[-1] <= curve.block
    assert [epoch for _, epoch, _ in rows] == [1 + (step - 1) // 10 for step in ends[1:]]
    means = [values[begin:end].mean() for begin, end in pairwise(ends)]
    assert [loss for _, _, loss in rows] == pytest.approx(means)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The loss of every step."""
    kept: list[float] = []
    step = TrainingModule.training_step

    def recorded(self: TrainingModule, batch: object, batch_idx: int) -> torch.Tensor:
        loss = step(self, batch, batch_idx)
        kept.append(loss.item())
        return loss

    monkeypatch.setattr(TrainingModule, "training_step", recorded)
    return kept


def train(samples: list[Sample], run: Run, *, resume: bool = False) -> None:
    run.path.mkdir(exist_ok=True)
    torch.manual_seed(0)
    pipeline = Pipeline(FastFlow((32, 32), "test_resnet", weights="random", steps=1, layers=[2]))
    trainer = TrainerOptions(max_epochs=EPOCHS, accelerator="cpu", cache="none", precision="32")
    loader = LoaderOptions(batch_size=2, workers=0)
    config = TrainConfig(model=Component("fastflow"), loader=loader, trainer=trainer, seed=1)
    fitting.fit(pipeline, samples, config, run, resume=resume)


def rows(run: Run) -> list[dict[str, str]]:
    with run.losses_file.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_training_writes_the_loss_of_each_step(samples, seen, tmp_path) -> None:
    run = Run(tmp_path / "run")
    train(samples, run)
    table = rows(run)
    assert [int(row["step"]) for row in table] == list(range(1, EPOCHS * STEPS + 1))
    assert [int(row["epoch"]) for row in table] == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert [float(row["loss"]) for row in table] == pytest.approx(seen, rel=1e-5)


@pytest.mark.parametrize("limit", [losses.ROWS, 4])
@pytest.mark.parametrize("stopped", [1, 3, 5, 7])
def test_a_resumed_training_writes_what_one_without_a_stop_does(
    samples, seen, tmp_path, monkeypatch, stopped: int, limit: int
) -> None:
    monkeypatch.setattr(callbacks, "WORTH", 0)
    monkeypatch.setattr(LossCurve.__init__, "__defaults__", (limit,))
    whole, run = Run(tmp_path / "whole"), Run(tmp_path / "run")
    train(samples, whole)
    seen.clear()
    step = TrainingModule.training_step

    def until_stopped(self: TrainingModule, batch: object, batch_idx: int) -> torch.Tensor:
        if len(seen) == stopped:
            raise KeyboardInterrupt
        return step(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingModule, "training_step", until_stopped)
        with pytest.raises(KeyboardInterrupt):
            train(samples, run)
    assert int(rows(run)[-1]["step"]) == stopped, "the table ends where the training did"
    train(samples, run, resume=True)
    assert run.losses_file.read_bytes() == whole.losses_file.read_bytes()
