"""The loss over the course of a training, as a table of bounded size."""

from __future__ import annotations

import csv
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from anomalib_flows.core.files import atomic
from anomalib_flows.run.directory import Run

ROWS = 1000
"""Limit of the table's rows; an even number, as rows are merged in pairs."""
PENDING = 1000
"""Steps after which losses are fetched from the device at the latest."""


class LossCurve:
    """Mean losses over equal blocks of steps; only the last block may be shorter.

    A block is one step long until there are ``ROWS`` of them. Then pairs of blocks are merged, again and again. So the
    blocks depend on the losses so far alone, and not on how long the training is to be.

    Example:
        >>> curve = LossCurve(limit=2)
        >>> for step, loss in enumerate([4.0, 2.0, 1.0, 3.0, 5.0], start=1):
        ...     curve.add(step, 1, loss)
        >>> curve.rows()
        [(4, 1, 2.5), (5, 1, 5.0)]
    """

    def __init__(self, limit: int = ROWS) -> None:
        self.limit, self.block = limit, 1
        self.blocks: list[list[Any]] = []  # last step, its epoch, sum of the losses, number of steps

    def add(self, step: int, epoch: int, loss: float) -> None:
        """Add the loss of the next step."""
        if self.blocks and self.blocks[-1][3] < self.block:
            last = self.blocks[-1]
            self.blocks[-1] = [step, epoch, last[2] + loss, last[3] + 1]
            return
        if len(self.blocks) == self.limit:
            pairs = zip(self.blocks[::2], self.blocks[1::2], strict=True)
            self.blocks = [[*b[:2], a[2] + b[2], a[3] + b[3]] for a, b in pairs]
            self.block *= 2
        self.blocks.append([step, epoch, loss, 1])

    def rows(self) -> list[tuple[int, int, float]]:
        """Return the last step, its epoch and the mean loss of each block; both count from 1."""
        return [(step, epoch, total / count) for step, epoch, total, count in self.blocks]


class LossTable(Callback):
    """Write ``losses.csv`` of a run, at the end of the training, or of its part before an error or Ctrl-C.

    The table so far is part of Lightning's checkpoint: a resumed run has each step once. Losses stay on the device
    until the end of an epoch, so that no step waits for it.
    """

    def __init__(self, run: Run) -> None:
        self.run, self.curve = run, LossCurve()
        self.pending: list[tuple[int, int, Tensor]] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Keep the loss of the step."""
        self.pending.append((trainer.global_step, trainer.current_epoch + 1, outputs["loss"].detach()))
        if len(self.pending) >= PENDING:
            self.fetch()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Fetch the losses of the epoch."""
        self.fetch()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the table."""
        self.write()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Write the table so far."""
        self.write()

    def fetch(self) -> None:
        """Move the pending losses from the device to the table."""
        if self.pending:
            losses = torch.stack([loss for _, _, loss in self.pending]).tolist()
            for (step, epoch, _), loss in zip(self.pending, losses, strict=True):
                self.curve.add(step, epoch, loss)
            self.pending = []

    def write(self) -> None:
        """Write the table, unless there is nothing to write."""
        self.fetch()
        if not self.curve.blocks:
            return
        with atomic(self.run.losses_file) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
            table = csv.writer(stream)
            table.writerow(("step", "epoch", "loss"))
            table.writerows((step, epoch, f"{loss:.6g}") for step, epoch, loss in self.curve.rows())

    def state_dict(self) -> dict[str, Any]:
        """Return the table so far, in plain types."""
        self.fetch()
        return {"block": self.curve.block, "blocks": list(self.curve.blocks)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the table of a checkpoint."""
        self.curve.block, self.curve.blocks = state_dict["block"], list(state_dict["blocks"])
