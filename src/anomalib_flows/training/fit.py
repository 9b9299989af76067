"""Train a pipeline into a run directory."""

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
from anomalib_flows.data.datasets.base import Dataset
from anomalib_flows.data.loading.augmentation import AugmentOptions
from anomalib_flows.data.loading.loader import loader
from anomalib_flows.inference.features import FeatureOptions
from anomalib_flows.inference.predictor import choose_device
from anomalib_flows.models.pipeline import Pipeline
from anomalib_flows.run.directory import Run
from anomalib_flows.run.options import TrainerOptions
from anomalib_flows.training.callbacks import EpochCheckpoint, Progress, stop_on_interrupt
from anomalib_flows.training.compiled import explained
from anomalib_flows.training.module import TrainingModule


def fit(
    pipeline: Pipeline,
    samples: list[Sample],
    data: Dataset,
    options: TrainerOptions,
    features: FeatureOptions,
    augment: AugmentOptions,
    seed: int,
    run: Run,
    *,
    resume: bool = False,
) -> bool:
    """Train the detector of a pipeline; return whether training came to its end.

    Args:
        pipeline: What is trained, in place.
        samples: The training images.
        data: How images are read.
        options: How long and on what to train.
        features: How features are computed and kept.
        augment: How far training images are changed at random.
        seed: Decides the order of the images and their changes.
        run: Where checkpoints and logs go.
        resume: Whether to go on from the run's checkpoint.

    Raises:
        InputError: If the loss is no number, or shall be compiled and cannot be.
    """
    images = loader(samples, data, shuffle_seed=seed)
    module = TrainingModule(pipeline, images, seed, augment, features, compiled=options.compile)
    trainer = make_trainer(options, run, resumed=resume)
    compiling = explained() if options.compile else nullcontext()
    with stop_on_interrupt(trainer) as interrupted, warnings.catch_warnings(), compiling:
        warnings.filterwarnings("ignore", module="lightning")
        try:
            trainer.fit(module, ckpt_path=run.resume_file if resume else None, weights_only=True)
        except SystemExit as error:  # which Lightning makes of a second Ctrl-C
            interrupted.set()
            raise KeyboardInterrupt from error
    return not interrupted.is_set()


def make_trainer(options: TrainerOptions, run: Run, *, resumed: bool) -> Trainer:
    """Make Lightning's trainer; one device, as one is enough for a frozen encoder and a flow."""
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
    """Log to ``logs/`` of the run; each resumption to a folder of its own, for Lightning would empty the first."""
    logs = run.path / "logs"
    version = f"resumed-{len(list(logs.glob('resumed-*'))) + 1}" if resumed else ""
    kind = CSVLogger if options.logger == "csv" else TensorBoardLogger
    return kind(run.path, name="logs", version=version)


def require_checkpoint(pipeline: Pipeline, file: Path) -> None:
    """Refuse a checkpoint that is missing, damaged, not plain data, or of another model."""
    try:
        found = torch.load(file, map_location="cpu", weights_only=True)["state_dict"]
    except Exception as error:
        reason = "missing" if isinstance(error, FileNotFoundError) else "damaged, or holds more than plain data"
        raise InputError(f"{file} is {reason}: this run cannot be resumed, train it anew.") from error
    expected = {f"pipeline.{name}": tensor.shape for name, tensor in pipeline.state_dict().items()}
    if {name: tensor.shape for name, tensor in found.items()} != expected:
        raise InputError(f"{file} is of another model than its run: this run cannot be resumed, train it anew.")
