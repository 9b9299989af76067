"""Train a pipeline with Lightning: progress bar, checkpoints, and a graceful end on Ctrl-C."""

from __future__ import annotations

import logging
import signal
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from io import BytesIO
from pathlib import Path
from threading import Event, current_thread, main_thread
from types import FrameType
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger, Logger
from lightning.pytorch.plugins.io import TorchCheckpointIO
from tqdm import tqdm

from anomalib_flows.core.cuda import full_float32
from anomalib_flows.core.errors import InputError
from anomalib_flows.core.files import atomic
from anomalib_flows.core.types import Sample
from anomalib_flows.inference.memory import memory_explained
from anomalib_flows.inference.runner import choose_device
from anomalib_flows.models.checkpoint import save_pipeline
from anomalib_flows.models.pipeline import Pipeline
from anomalib_flows.run.config import TrainConfig
from anomalib_flows.run.directory import Run
from anomalib_flows.run.options import TrainerOptions
from anomalib_flows.training.module import TrainingModule, compilation_explained
from anomalib_flows.training.watch import LossWatch

WORTH = 20
"""Least time between two checkpoints, as a multiple of the time that writing one takes."""


def fit(
    pipeline: Pipeline,
    samples: list[Sample],
    config: TrainConfig,
    run: Run,
    *,
    resume: bool = False,
    tracker: Logger | None = None,
) -> bool:
    """Train the detector of a pipeline in place; return whether the training is complete.

    With ``resume`` it continues from the run's checkpoint. Losses go to the tracker, or else to ``logs/``. It raises an
    InputError if the loss is not finite, or cannot be compiled, or if memory ends.
    """
    module = TrainingModule(pipeline, samples, config)
    losses = tracker or csv_logger(run, resumed=resume)
    trainer = make_trainer(config.trainer, len(module.images), run, losses)
    compiling = compilation_explained() if config.trainer.compile else nullcontext()
    device = choose_device(config.trainer.accelerator)
    memory = memory_explained(pipeline.detector, config.loader.images_per_batch, device)
    with stop_on_interrupt(trainer) as interrupted, warnings.catch_warnings(), compiling, memory, full_float32():
        warnings.filterwarnings("ignore", module="lightning")
        try:
            trainer.fit(module, ckpt_path=run.resume_file if resume else None, weights_only=True)
        except SystemExit as error:
            if not isinstance(error.__context__, KeyboardInterrupt):  # Lightning's answer to a second Ctrl-C
                raise
            interrupted.set()
            raise KeyboardInterrupt from error
    return not interrupted.is_set()


def make_trainer(options: TrainerOptions, batches: int, run: Run, losses: Logger) -> Trainer:
    """Make Lightning's trainer on one device, which is enough for a frozen encoder and a flow."""
    device = choose_device(options.accelerator)
    precision: Any = options.precision  # not auto any more
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    watch = LossWatch(run)  # before all who would keep what a bad loss has left
    return Trainer(
        max_epochs=options.epochs(batches),
        min_epochs=0,  # or Ctrl-C would wait for the end of the first epoch
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=1,
        precision=precision,
        gradient_clip_val=options.gradient_clip,
        logger=losses,
        plugins=[PlainFile()],
        callbacks=[watch, Progress(watch), EpochCheckpoint(run)],
        log_every_n_steps=1,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def csv_logger(run: Run, *, resumed: bool) -> Logger:
    """Log to ``logs/`` of the run; a resumed run logs to a new folder, since Lightning would empty the first one."""
    logs = run.path / "logs"
    version = f"resumed-{len(list(logs.glob('resumed-*'))) + 1}" if resumed else ""
    return CSVLogger(run.path, name="logs", version=version)


def require_checkpoint(pipeline: Pipeline, file: Path) -> None:
    """Raise an InputError if a checkpoint is missing, damaged, not plain data, or of another model."""
    try:
        found = torch.load(file, map_location="cpu", weights_only=True)["state_dict"]
    except Exception as error:
        reason = "missing" if isinstance(error, FileNotFoundError) else "damaged, or holds more than plain data"
        raise InputError(f"{file} is {reason}: this run cannot be resumed, train again.") from error
    expected = {f"pipeline.{name}": tensor.shape for name, tensor in pipeline.state_dict().items()}
    if {name: tensor.shape for name, tensor in found.items()} != expected:
        raise InputError(f"{file} is of another model than its run: this run cannot be resumed, train again.")


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
        if not self.run.resume_file.exists():
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
        if not trainer.should_stop and (last or time.monotonic() >= self.due):
            self.write(trainer, pl_module)

    def write(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write both files."""
        assert isinstance(pl_module, TrainingModule)  # noqa: S101 (for the type checker)
        began = time.monotonic()
        with atomic(self.run.resume_file) as temporary:
            trainer.save_checkpoint(temporary)
        save_pipeline(pl_module.pipeline, self.run.model_file)
        self.due = time.monotonic() + WORTH * (time.monotonic() - began)


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
