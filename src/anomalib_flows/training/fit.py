"""Train a pipeline with Lightning."""

from __future__ import annotations

import logging
import warnings
from contextlib import nullcontext
from pathlib import Path

import torch
from lightning import Trainer
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.types import Sample
from anomalib_flows.inference.runner import choose_device
from anomalib_flows.models.pipeline import Pipeline
from anomalib_flows.run.config import TrainConfig
from anomalib_flows.run.directory import Run
from anomalib_flows.run.options import TrainerOptions
from anomalib_flows.training.callbacks import EpochCheckpoint, Progress, stop_on_interrupt
from anomalib_flows.training.module import TrainingModule, compilation_explained


def fit(pipeline: Pipeline, samples: list[Sample], config: TrainConfig, run: Run, *, resume: bool = False) -> bool:
    """Train the detector of a pipeline in place; return whether the training is complete.

    With ``resume`` it continues from the run's checkpoint. It raises an InputError if the loss is not finite, or cannot
    be compiled.
    """
    module = TrainingModule(pipeline, samples, config)
    trainer = make_trainer(config.trainer, run, resumed=resume)
    compiling = compilation_explained() if config.trainer.compile else nullcontext()
    with stop_on_interrupt(trainer) as interrupted, warnings.catch_warnings(), compiling:
        warnings.filterwarnings("ignore", module="lightning")
        try:
            trainer.fit(module, ckpt_path=run.resume_file if resume else None, weights_only=True)
        except SystemExit as error:  # Lightning's answer to a second Ctrl-C
            interrupted.set()
            raise KeyboardInterrupt from error
    return not interrupted.is_set()


def make_trainer(options: TrainerOptions, run: Run, *, resumed: bool) -> Trainer:
    """Make Lightning's trainer on one device, which is enough for a frozen encoder and a flow."""
    device = choose_device(options.accelerator)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    return Trainer(
        max_epochs=options.max_epochs,
        min_epochs=0,  # or Ctrl-C would wait for the end of the first epoch
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=1,
        precision=options.precision,
        gradient_clip_val=options.gradient_clip,
        logger=make_logger(options, run, resumed=resumed),
        callbacks=[Progress(), EpochCheckpoint(run)],
        log_every_n_steps=1,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def make_logger(options: TrainerOptions, run: Run, *, resumed: bool) -> Logger:
    """Log to ``logs/`` of the run; a resumed run logs to a new folder, since Lightning would empty the first one."""
    logs = run.path / "logs"
    version = f"resumed-{len(list(logs.glob('resumed-*'))) + 1}" if resumed else ""
    kind = CSVLogger if options.logger == "csv" else TensorBoardLogger
    return kind(run.path, name="logs", version=version)


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
