"""``anomalib-flows train``: from images to a tested detector."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from anomalib_flows.backbones import weights_follow
from anomalib_flows.commands.summary import print_summary
from anomalib_flows.data.base import Dataset
from anomalib_flows.data.checking import check
from anomalib_flows.data.splits import hold_out, read_splits, write_splits
from anomalib_flows.evaluation import evaluate_run
from anomalib_flows.inference import calibrate_on, choose_device
from anomalib_flows.models import checkpoint
from anomalib_flows.models.base import Detector
from anomalib_flows.models.pipeline import Pipeline
from anomalib_flows.run import Run
from anomalib_flows.training.fit import fit
from anomalib_flows.training.options import TrainerOptions
from anomalib_flows.types import ImageSize, InputError, Sample


def train(
    model: Callable[[ImageSize], Detector],
    data: Dataset,
    trainer: TrainerOptions = TrainerOptions(),  # noqa: B008 (frozen)
    false_alarm_rate: float = 0.01,
    seed: int = 0,
    output: Path = Path("results"),
    resume: Path | None = None,
) -> Run:
    """Train a detector on normal images, set its thresholds, and test it where there is a test split.

    Args:
        model: Name of the model, see 'anomalib-flows list models'; its options follow as --model.OPTION.
        data: Name of the dataset, see 'anomalib-flows list datasets'; its options follow as --data.OPTION.
        trainer: How long and on what to train.
        false_alarm_rate: Share of normal images that may be called anomalous.
        seed: Decides the initial weights, the order of the images, and which are held out for calibration.
        output: Where run directories are made.
        resume: Run directory to go on with, after its last whole epoch and with its options.

    Returns:
        The run directory.

    Raises:
        InputError: If an option or a file cannot be used.
    """
    device = choose_device(trainer.accelerator)
    samples = load_samples(data, seed, resume)
    torch.manual_seed(seed)
    with weights_follow() if resume else nullcontext():
        pipeline = Pipeline(model(data.size), data.resize)
    config = describe(pipeline, data, trainer, false_alarm_rate, seed, output)
    run = Run.open(resume) if resume else start_run(pipeline, data, samples, output)
    run.write_config(config)
    finished = fit(pipeline, of(samples, "train"), data, trainer, seed, run, resume=resume is not None)
    if not finished:
        raise KeyboardInterrupt(f"Training stopped early; go on with: anomalib-flows train --resume {run.path}")
    calibrate_on(pipeline, of(samples, "calibration"), data, device, false_alarm_rate)
    checkpoint.save(pipeline, run.model_file)
    if tested := of(samples, "test"):
        evaluate_run(run, pipeline, tested, data, device)
    print_summary(run)
    return run


def of(samples: list[Sample], split: str) -> list[Sample]:
    """Select the samples of a split."""
    return [sample for sample in samples if sample.split == split]


def load_samples(data: Dataset, seed: int, resume: Path | None) -> list[Sample]:
    """List the images with their splits: those of the run that is resumed, or a new draw."""
    if resume:
        return read_splits(Run.open(resume).splits_file)
    return hold_out(check(data.samples(), data.on_error), data.calibration_fraction, seed)


def start_run(pipeline: Pipeline, data: Dataset, samples: list[Sample], output: Path) -> Run:
    """Make a run directory and record which image serves for what."""
    model = checkpoint.class_name(type(pipeline.detector)).rpartition(".")[2].lower()
    try:
        run = Run.create(output, model, data.name, data.subset)
    except OSError as error:
        raise InputError(f"--output {output} cannot be written ({error.strerror}): name another folder.") from error
    write_splits(samples, run.splits_file)
    return run


def describe(
    pipeline: Pipeline, data: Dataset, options: TrainerOptions, false_alarm_rate: float, seed: int, output: Path
) -> dict[str, Any]:
    """Write down the options that make the same run again, in plain types."""
    fields = {f.name: getattr(data, f.name) for f in dataclasses.fields(data)}
    return checkpoint.plain(
        {
            "model": checkpoint.describe(pipeline)["model"],
            "data": {"class_path": f"{type(data).__module__}.{type(data).__qualname__}", "init_args": fields},
            "trainer": dataclasses.asdict(options),
            "false_alarm_rate": false_alarm_rate,
            "seed": seed,
            "output": output,
        }
    )
