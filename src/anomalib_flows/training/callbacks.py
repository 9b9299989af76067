"""What Lightning's trainer calls: the progress bar, checkpoints after epochs, and the end on Ctrl-C."""

from __future__ import annotations

import signal
import sys
import time
from io import BytesIO
from pathlib import Path
from threading import Event, current_thread, main_thread
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.plugins.io import TorchCheckpointIO
from tqdm import tqdm

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.files import atomic
from anomalib_flows.models.checkpoint import save_pipeline
from anomalib_flows.run.directory import Run
from anomalib_flows.training.module import TrainingModule
from anomalib_flows.training.watch import LossWatch

WORTH = 20
"""Least time between two checkpoints, as a multiple of the time that writing one takes."""


class Progress(Callback):
    """One progress bar over all epochs, whose estimate is that of the training."""

    def __init__(self, watch: LossWatch) -> None:
        self.watch = watch

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the bar where the training begins or continues."""
        total = int(trainer.num_training_batches) * (trainer.max_epochs or 0)
        slow = 0.1 if sys.stderr.isatty() else 30.0
        self.bar = tqdm(total=total, initial=trainer.global_step, desc="Training", unit="step", mininterval=slow)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Show the step."""
        epoch = f"{trainer.current_epoch + 1}/{trainer.max_epochs}"
        loss = {} if self.watch.latest is None else {"loss": f"{self.watch.latest:.4g}"}
        self.bar.set_postfix({"epoch": epoch} | loss, refresh=False)
        self.bar.update()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the bar."""
        self.bar.close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Close the bar, so that a message begins on a new line."""
        if hasattr(self, "bar"):
            self.bar.close()


class PlainFile(TorchCheckpointIO):
    """Write a checkpoint to the given path: Lightning goes through the system's temporary folder."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a file; torch would end the process if the disk is full."""
        content = BytesIO()
        torch.save(checkpoint, content)
        Path(path).write_bytes(content.getbuffer())


class EpochCheckpoint(Callback):
    """Keep the state after complete epochs: one file to resume from and one to use.

    Writing takes a twentieth of the time at most: of many short epochs, not each is kept.
    """

    def __init__(self, run: Run) -> None:
        self.run, self.due = run, 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write a first checkpoint, so that a run can be resumed from its first step."""
        if trainer.strategy.broadcast(not self.run.resume_file.exists()):
            self.write(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Replace the files by the current state, unless the epoch was interrupted or a weight is not finite."""
        finite = [p.isfinite().all() for p in pl_module.parameters() if p.requires_grad]
        if not torch.stack(finite).all():
            raise InputError(
                f"Weights are not finite after epoch {trainer.current_epoch + 1}. Lower `learning_rate`, or set "
                "`trainer.gradient_clip` 1."
            )
        last = trainer.current_epoch + 1 == trainer.max_epochs
        due = trainer.strategy.broadcast(last or time.monotonic() >= self.due)
        if not trainer.should_stop and due:
            self.write(trainer, pl_module)

    def write(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write both files; other processes of the training wait meanwhile."""
        assert isinstance(pl_module, TrainingModule)  # noqa: S101 (for the type checker)
        if not trainer.is_global_zero:
            trainer.save_checkpoint(self.run.resume_file)  # writes nothing, but takes part
            return
        began = time.monotonic()
        with atomic(self.run.resume_file) as temporary:
            trainer.save_checkpoint(temporary)
        save_pipeline(pl_module.pipeline, self.run.model_file)
        self.due = time.monotonic() + WORTH * (time.monotonic() - began)


class Termination(Callback):
    """Undo Lightning's answer to SIGTERM: several processes wait for each other without end, one ends like success."""

    def __init__(self) -> None:
        self.terminate = signal.getsignal(signal.SIGTERM) or signal.SIG_DFL

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Answer as before; this is the first callback, since others may wait for each other here."""
        if current_thread() is main_thread():
            signal.signal(signal.SIGTERM, self.terminate)


class Stop(Callback):
    """Stop all processes of a training after the same step, once one of them was interrupted.

    It comes after the checkpoint of an epoch, which a stop before it would prevent.

    Args:
        interrupted: Event that is set on Ctrl-C.
        watch: Callback before this one. When it has read losses, the device has no steps left to wait for.
    """

    def __init__(self, interrupted: Event, watch: LossWatch) -> None:
        self.interrupted, self.watch = interrupted, watch

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Agree whether to stop, where all processes have read the losses."""
        if trainer.world_size == 1 or not self.watch.pending:
            self.agree(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Agree again: a GPU's losses are read here alone if epochs are short."""
        self.agree(trainer)

    def agree(self, trainer: Trainer) -> None:
        """Let all processes stop if one of them was interrupted."""
        trainer.should_stop |= trainer.strategy.reduce_boolean_decision(self.interrupted.is_set(), all=False)
