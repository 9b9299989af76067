"""Train a pipeline with Lightning: progress bar, checkpoints, and a graceful end on Ctrl-C."""

from __future__ import annotations

import logging
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from threading import Event, current_thread, main_thread
from types import FrameType
from typing import Any

import torch
from lightning import Trainer
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch.loggers import CSVLogger, Logger
from lightning.pytorch.strategies import DDPStrategy
from tqdm import tqdm

from anomalib_flows.core.cuda import full_float32
from anomalib_flows.core.errors import InputError
from anomalib_flows.core.types import Sample
from anomalib_flows.inference.memory import memory_explained
from anomalib_flows.inference.runner import choose_device
from anomalib_flows.models.pipeline import Pipeline
from anomalib_flows.run.config import TrainConfig
from anomalib_flows.run.directory import Run
from anomalib_flows.run.options import TrainerOptions
from anomalib_flows.training.callbacks import EpochCheckpoint, PlainFile, Progress, Stop, Termination
from anomalib_flows.training.module import TrainingModule, compilation_explained
from anomalib_flows.training.team import rank, team, world_size
from anomalib_flows.training.watch import LossWatch


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
    task = partial(train_detector, pipeline, samples, config, run, resume=resume)
    with team(task, config.trainer.devices):
        return task(tracker=tracker)


def train_detector(
    pipeline: Pipeline,
    samples: list[Sample],
    config: TrainConfig,
    run: Run,
    *,
    resume: bool = False,
    tracker: Logger | None = None,
) -> bool:
    """Train as :func:`fit` does, as one of the processes of a training; all of them do this at the same time."""
    module, interrupted = TrainingModule(pipeline, samples, config), Event()
    losses = (tracker or csv_logger(run, resumed=resume)) if rank() == 0 else None
    trainer = make_trainer(config.trainer, len(module.images), run, losses, interrupted)
    device = choose_device(config.trainer.accelerator)
    memory = memory_explained(pipeline.detector, config.loader.images_per_batch, device)
    with stop_on_interrupt(interrupted), warnings.catch_warnings(), explained(config.trainer), memory, full_float32():
        warnings.filterwarnings("ignore", module="lightning")
        try:
            trainer.fit(module, ckpt_path=run.resume_file if resume else None, weights_only=True)
        except SystemExit as error:
            if not isinstance(error.__context__, KeyboardInterrupt):  # Lightning's answer to a second Ctrl-C
                raise
            interrupted.set()
            raise KeyboardInterrupt from error
    return not interrupted.is_set()


@contextmanager
def explained(options: TrainerOptions) -> Iterator[None]:
    """Raise an InputError that says why an option of the trainer is not possible."""
    with compilation_explained() if options.compile else nullcontext():
        try:
            yield
        except RuntimeError as error:
            if "find_unused_parameters" not in str(error):
                raise
            raise InputError(
                "`trainer.strategy` ddp needs a loss that depends on all weights in each step: set it to "
                "ddp_find_unused_parameters_true."
            ) from error


def make_trainer(options: TrainerOptions, batches: int, run: Run, losses: Logger | None, interrupted: Event) -> Trainer:
    """Make Lightning's trainer for this process; the first of several has a logger, and shows the progress."""
    device = choose_device(options.accelerator)
    precision: Any = options.precision  # not auto any more
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    watch = LossWatch(run)  # before all who would keep what a bad loss has left
    progress = [Progress(watch)] if losses else []
    return Trainer(
        max_epochs=options.epochs(batches),
        min_epochs=0,  # or Ctrl-C would wait for the end of the first epoch
        accelerator="gpu" if device.type == "cuda" else "cpu",
        **strategy(options),
        precision=precision,
        gradient_clip_val=options.gradient_clip,
        logger=losses or False,
        plugins=[PlainFile()],
        callbacks=[Termination(), watch, *progress, EpochCheckpoint(run), Stop(interrupted, watch)],
        log_every_n_steps=1,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def strategy(options: TrainerOptions) -> dict[str, Any]:
    """Return Lightning's arguments for one process, or for one of several."""
    if world_size() == 1:
        return {"devices": 1}
    here = int(os.environ["LOCAL_WORLD_SIZE"])
    ddp = DDPStrategy(
        cluster_environment=TorchElasticEnvironment(),
        find_unused_parameters=options.strategy != "ddp",
        broadcast_buffers=False,  # they are constants
    )
    return {"devices": here, "num_nodes": world_size() // here, "strategy": ddp}


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


@contextmanager
def stop_on_interrupt(interrupted: Event) -> Iterator[None]:
    """Set the event on the first Ctrl-C, to stop after the step; on the second stop at once."""
    if current_thread() is not main_thread() or rank():  # the main thread alone may handle signals
        yield
        return
    before = signal.getsignal(signal.SIGINT)

    def stop(number: int, frame: FrameType | None) -> None:
        tqdm.write("Stopping after this step; press Ctrl-C again to stop at once.", file=sys.stderr)
        interrupted.set()
        signal.signal(signal.SIGINT, before)

    try:
        signal.signal(signal.SIGINT, stop)
        yield
    finally:
        signal.signal(signal.SIGINT, before)
