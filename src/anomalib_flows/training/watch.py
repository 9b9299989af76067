"""Read the loss of each step: log it, keep its course, and stop the training where it is not finite."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any, NamedTuple

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from anomalib_flows.core.errors import InputError
from anomalib_flows.run.directory import Run
from anomalib_flows.training.losses import LossCurve, write_losses

STEPS = 32
"""Steps of a GPU between two looks at the losses: a look waits until the GPU has done everything that it was given."""


class Pending(NamedTuple):
    """A loss that has not been read: its step in the training, and epoch and step in the epoch."""

    loss: Tensor
    step: int
    epoch: int
    of_epoch: int


class LossWatch(Callback):
    """Log the loss of each step, and raise an InputError where it is not finite.

    On a GPU losses are read every ``STEPS`` steps, and at the end of an epoch before it is kept. When the training ends
    or stops, ``losses.csv`` of the run is written. Its content so far is part of Lightning's checkpoint, so a resumed
    run has each step once.

    Attributes:
        latest: The last loss that was read; None before the first.
    """

    def __init__(self, run: Run) -> None:
        self.run, self.curve = run, LossCurve()
        self.pending: list[Pending] = []
        self.latest: float | None = None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Take the loss of the step."""
        loss = outputs["loss"].detach()
        self.pending.append(Pending(loss, trainer.global_step - 1, trainer.current_epoch, batch_idx))
        if loss.device.type == "cpu" or len(self.pending) >= STEPS:
            self.read(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Read the losses of the epoch."""
        self.read(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the course of the losses."""
        self.read(trainer)
        if trainer.is_global_zero:
            write_losses(self.curve, self.run.losses_file)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Write the course of the losses up to the error, or Ctrl-C."""
        if not trainer.is_global_zero:
            return
        if trainer.world_size == 1:  # others cannot give their losses any more
            with suppress(InputError, RuntimeError):  # what stopped the training may be on the device
                self.read(trainer)
        with suppress(OSError):  # the first error is the one to raise
            write_losses(self.curve, self.run.losses_file)

    def state_dict(self) -> dict[str, Any]:
        """Return the course of the losses in plain types."""
        return {"block": self.curve.block, "blocks": list(self.curve.blocks)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the course of a checkpoint."""
        self.curve.block, self.curve.blocks = state_dict["block"], list(state_dict["blocks"])

    def read(self, trainer: Trainer) -> None:
        """Read the losses that are pending, in one copy from the device."""
        pending, self.pending = self.pending, []
        losses = torch.stack([one.loss for one in pending]) if pending else torch.empty(0)
        values = trainer.strategy.reduce(losses, reduce_op="mean").tolist() if pending else []
        for one, loss in zip(pending, values, strict=True):
            if not math.isfinite(loss):
                raise InputError(
                    f"The loss is {loss} at step {one.of_epoch + 1} of epoch {one.epoch + 1}. Lower "
                    "`learning_rate`, set `trainer.gradient_clip` 1, or set `trainer.precision` 32."
                )
            self.curve.add(one.step + 1, one.epoch + 1, loss)
            for logger in trainer.loggers:
                logger.log_metrics({"loss": loss, "epoch": one.epoch}, one.step)
            self.latest = loss
        for logger in trainer.loggers if pending else ():
            logger.save()
