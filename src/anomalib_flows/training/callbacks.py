"""Progress bar, a checkpoint after each epoch, and a graceful end on Ctrl-C."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, current_thread, main_thread
from types import FrameType
from typing import Any

from lightning import Callback, LightningModule, Trainer
from tqdm import tqdm

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.files import atomic
from anomalib_flows.models.checkpoint import save_pipeline
from anomalib_flows.run.directory import Run
from anomalib_flows.training.module import TrainingModule


class Progress(Callback):
    """One progress bar over all epochs, whose estimate is that of the training."""

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
        self.bar.set_postfix({"epoch": epoch, "loss": f"{outputs['loss'].item():.4g}"}, refresh=False)
        self.bar.update()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the bar."""
        self.bar.close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Close the bar, so that a message begins on a new line."""
        if hasattr(self, "bar"):
            self.bar.close()


class EpochCheckpoint(Callback):
    """Keep the state after the last complete epoch: one file to resume from and one to use."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write a first checkpoint, so that a run can be resumed from its first step."""
        if not self.run.resume_file.exists():
            self.write(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Replace the files by the current state, unless the epoch was interrupted or a weight is not finite."""
        if not all(bool(p.isfinite().all()) for p in pl_module.parameters() if p.requires_grad):
            raise InputError(
                f"Weights are not finite after epoch {trainer.current_epoch + 1}. Lower `learning_rate`, or set "
                "`trainer.gradient_clip` 1."
            )
        if not trainer.should_stop:
            self.write(trainer, pl_module)

    def write(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write both files."""
        assert isinstance(pl_module, TrainingModule)  # noqa: S101 (for the type checker)
        with atomic(self.run.resume_file) as temporary:
            trainer.save_checkpoint(temporary)
        save_pipeline(pl_module.pipeline, self.run.model_file)


@contextmanager
def stop_on_interrupt(trainer: Trainer) -> Iterator[Event]:
    """On the first Ctrl-C finish the step, stop and set the event; on the second stop at once."""
    interrupted = Event()
    if current_thread() is not main_thread():  # which alone may handle signals
        yield interrupted
        return
    before = signal.getsignal(signal.SIGINT)

    def stop(number: int, frame: FrameType | None) -> None:
        tqdm.write("Stopping after this step; press Ctrl-C again to stop at once.", file=sys.stderr)
        trainer.should_stop = True
        interrupted.set()
        signal.signal(signal.SIGINT, before)

    try:
        signal.signal(signal.SIGINT, stop)
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, before)
