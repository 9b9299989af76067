"""Losses are read in their order, logged with their steps, and end the training where they are not finite."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from anomalib_flows.core.errors import InputError
from anomalib_flows.run.directory import Run
from anomalib_flows.training.watch import STEPS, LossWatch


class Logger:
    """Keep what is logged."""

    def __init__(self) -> None:
        self.rows: list[tuple[float, int, int]] = []

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        self.rows.append((metrics["loss"], int(metrics["epoch"]), step))

    def save(self) -> None:
        pass


class OneDevice:
    def reduce(self, losses: torch.Tensor, reduce_op: str) -> torch.Tensor:
        return losses


ALONE: dict[str, Any] = {"strategy": OneDevice(), "world_size": 1, "is_global_zero": True}


def steps(watch: LossWatch, losses: list[float], device: str, epoch: int = 0) -> Any:
    """Take losses as Lightning gives them, from a device that has none of its memory here."""
    trainer: Any = SimpleNamespace(**ALONE, loggers=[Logger()], current_epoch=epoch, global_step=0)
    for i, loss in enumerate(losses):
        trainer.global_step += 1
        watch.on_train_batch_end(trainer, None, {"loss": OnDevice(loss, device)}, None, i)  # type: ignore[arg-type]
    return trainer


class OnDevice(torch.Tensor):
    """A tensor that says it is on another device."""

    pretended: str

    def __new__(cls, value: float, device: str) -> OnDevice:
        made = torch.Tensor._make_subclass(cls, torch.tensor(value))
        made.pretended = device
        return made

    def detach(self) -> OnDevice:
        return self

    @property
    def device(self) -> Any:
        return SimpleNamespace(type=self.pretended)


def test_on_a_cpu_each_loss_is_read_at_once() -> None:
    watch = LossWatch(Run(Path()))
    trainer = steps(watch, [3.0, 2.0, 1.0], "cpu", epoch=4)
    assert trainer.loggers[0].rows == [(3.0, 4, 0), (2.0, 4, 1), (1.0, 4, 2)]
    assert watch.latest == 1.0


def test_on_a_gpu_losses_are_read_now_and_then_and_at_the_end_of_the_epoch() -> None:
    watch, losses = LossWatch(Run(Path())), [float(i) for i in range(STEPS + 5)]
    trainer = steps(watch, losses, "cuda")
    rows = trainer.loggers[0].rows
    assert len(rows) == STEPS
    watch.on_train_epoch_end(trainer, None)  # type: ignore[arg-type]
    assert rows == [(loss, 0, i) for i, loss in enumerate(losses)]
    watch.on_train_epoch_end(trainer, None)  # type: ignore[arg-type]
    assert len(rows) == STEPS + 5


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_the_first_loss_that_is_not_finite_is_named(device: str, bad: float) -> None:
    watch = LossWatch(Run(Path()))
    with pytest.raises(InputError, match=f"The loss is {bad} at step 3 of epoch 2. Lower `learning_rate`"):
        watch.on_train_epoch_end(steps(watch, [1.0, 2.0, bad, math.nan], device, epoch=1), None)  # type: ignore[arg-type]


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_training_that_fails_keeps_the_losses_before_the_first_that_is_not_finite(
    tmp_path: Path, device: str
) -> None:
    watch = LossWatch(Run(tmp_path))
    with pytest.raises(InputError):
        watch.on_train_epoch_end(steps(watch, [1.0, 2.0, math.nan, 3.0], device), None)  # type: ignore[arg-type]
    trainer: Any = SimpleNamespace(**ALONE, loggers=[])
    watch.on_exception(trainer, None, KeyboardInterrupt())  # type: ignore[arg-type]
    assert (tmp_path / "losses.csv").read_text().split() == ["step,epoch,loss", "1,1,1", "2,1,2"]


def test_a_stop_within_an_epoch_keeps_the_losses_that_are_still_on_the_device(tmp_path: Path) -> None:
    watch = LossWatch(Run(tmp_path))
    watch.on_train_end(steps(watch, [1.0, 2.0], "cuda", epoch=1), None)  # type: ignore[arg-type]
    assert (tmp_path / "losses.csv").read_text().split() == ["step,epoch,loss", "1,2,1", "2,2,2"]
