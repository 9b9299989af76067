"""From images to a tested detector: the course of a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, get_args

import torch
from tqdm import tqdm

from anomalib_flows.core import registry
from anomalib_flows.core.conformal import require_rate
from anomalib_flows.core.errors import InputError
from anomalib_flows.core.store import GB
from anomalib_flows.core.types import ImageSize, Protocol, Sample, Split
from anomalib_flows.data.checks.checking import check
from anomalib_flows.data.datasets.base import Dataset
from anomalib_flows.data.splits.duplicates import duplicates, warn_of_leaks
from anomalib_flows.data.splits.splits import hold_out, read_splits, write_splits
from anomalib_flows.data.splits.validation import draw_defects, hold_out_validation
from anomalib_flows.encoders.encoder import weights_follow
from anomalib_flows.experiment.evaluate import evaluate_run, evaluate_validation, require_both_labels
from anomalib_flows.inference.features import FeatureOptions
from anomalib_flows.inference.predictor import calibrate_on, choose_device, fit_local_scale, fit_statistics
from anomalib_flows.models import checkpoint
from anomalib_flows.models.base import Detector
from anomalib_flows.models.pipeline import Pipeline
from anomalib_flows.results.figures import PICTURES, require_count
from anomalib_flows.run.directory import Run
from anomalib_flows.run.options import AugmentOptions, HeatmapOptions, TrainerOptions

MAY_CHANGE = {
    "weights",
    "learning_rate",
    "weight_decay",
    "root",
    "batch_size",
    "workers",
    "cache",
    "cache_size",
    "on_error",
}
"""Options of model and data that a resumed run may have otherwise."""


def run_experiment(
    model: Callable[[ImageSize], Detector],
    data: Dataset,
    trainer: TrainerOptions,
    heatmap: HeatmapOptions,
    augment: AugmentOptions,
    false_alarm_rate: float,
    protocol: Protocol,
    seed: int,
    output: Path,
    resume: Path | None,
    pictures: int,
) -> Run:
    """Train, calibrate and test; the arguments are those of :func:`anomalib_flows.commands.train.train`."""
    require_rate(false_alarm_rate)
    require_count(pictures)
    device = choose_device(trainer.accelerator)
    if trainer.precision == "16-mixed" and device.type == "cpu":
        raise InputError("--trainer.precision 16-mixed needs CUDA: on a CPU choose bf16-mixed or 32.")
    samples = load_samples(data, protocol, seed, resume)
    tqdm.write(counts(samples))
    torch.manual_seed(seed)
    with weights_follow() if resume else nullcontext():
        pipeline = Pipeline(model(data.size), data.resize, heatmap)
    config = describe(pipeline, data, trainer, false_alarm_rate, seed, output, protocol, augment, pictures)
    if resume:
        require_resumable(pipeline, Run.open(resume), config)
    pipeline.detector.require_trainable(min(data.batch_size, len(of(samples, "train"))))
    if resume:
        run = Run.open(resume)
    else:
        fit_statistics(
            pipeline, of(samples, "train"), data, device, feature_options(trainer)
        )  # stopped here, it leaves no run behind
        run = start_run(pipeline, data, output)
        samples = [*samples, *draw_defects(samples, run.validation.drawn, seed)]
        write_splits(samples, run.splits_file)
    run.write_config(config)
    train_pipeline(pipeline, samples, data, trainer, augment, seed, run, resume=resume is not None)
    try:
        judge(run, pipeline, samples, data, device, false_alarm_rate, protocol, feature_options(trainer), pictures)
    except KeyboardInterrupt:
        calibrate = f"  anomalib-flows calibrate {run.path}\n" if protocol == "calibrated" else ""
        raise KeyboardInterrupt(
            f"Stopped after training. Go on with\n{calibrate}  anomalib-flows test {run.path} --protocol {protocol}"
        ) from None
    return run


def judge(
    run: Run,
    pipeline: Pipeline,
    samples: list[Sample],
    data: Dataset,
    device: torch.device,
    false_alarm_rate: float,
    protocol: Protocol,
    features: FeatureOptions,
    pictures: int,
) -> None:
    """Set what a trained pipeline decides by, and measure how well it decides."""
    fit_local_scale(pipeline, of(samples, "train"), data, device, features)
    checkpoint.save(pipeline, run.model_file)
    if protocol == "calibrated":
        calibrate_on(pipeline, of(samples, "calibration"), data, device, false_alarm_rate, features)
        checkpoint.save(pipeline, run.model_file)
    if tested := of(samples, "test"):
        evaluate_run(run, pipeline, tested, data, device, protocol, pictures)
        checkpoint.save(pipeline, run.model_file)
    if validating := of(samples, "validation"):
        evaluate_validation(run, pipeline, validating, data, device, pictures=pictures)


def require_resumable(pipeline: Pipeline, run: Run, config: dict[str, Any]) -> None:
    """Refuse to resume a run with other options than those that may change, before anything is written."""
    old = run.config()
    for key in ("model", "data"):
        before, after = old[key]["init_args"], config[key]["init_args"]
        changed = sorted(k for k in after if k not in MAY_CHANGE and before.get(k, after[k]) != after[k])
        if changed:
            raise InputError(f"--{key}.{changed[0]} cannot change when a run is resumed: leave it out.")
    for key in ("seed", "protocol", "heatmap", "augment"):
        if old.get(key, config[key]) != config[key]:
            raise InputError(f"--{key} cannot change when a run is resumed: leave it out.")
    from anomalib_flows.training.fit import require_checkpoint  # takes Lightning, see train_pipeline

    require_checkpoint(pipeline, run.resume_file)


def load_samples(data: Dataset, protocol: Protocol, seed: int, resume: Path | None) -> list[Sample]:
    """List the images with their splits: those of the run that is resumed, or a new draw."""
    if resume:
        return read_splits(Run.open(resume).splits_file)
    samples = check(data.samples(), data.on_error)
    same = duplicates(sample.path for sample in samples)
    if protocol == "paper":
        if data.validation_fraction:
            raise InputError("--data.validation_fraction holds out what --protocol paper trains on: leave one out.")
        if not of(samples, "train"):
            raise InputError(f"{data.name} {data.subset} has no images to train on: give good ones of the split train.")
        require_both_labels(of(samples, "test"))
    else:
        together = same | data.together(samples)
        samples = hold_out(samples, data.calibration_fraction, seed, together)
        samples = hold_out_validation(samples, data.validation_fraction, seed, together)
    warn_of_leaks(samples, same)
    return samples


def counts(samples: list[Sample]) -> str:
    """Say how many images serve for what.

    Example:
        >>> counts([Sample(Path("1.png"), "train"), Sample(Path("2.png"), "train"), Sample(Path("3.png"), "test")])
        'Images: 2 train, 1 test.'
    """
    counted = {split: len(of(samples, split)) for split in get_args(Split)}
    return f"Images: {', '.join(f'{count} {split}' for split, count in counted.items() if count)}."


def feature_options(options: TrainerOptions) -> FeatureOptions:
    """Tell how features to train on are computed and kept."""
    precisions = {"32": torch.float32, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
    return FeatureOptions(
        precision=precisions[options.precision],
        limit=int(options.cache_size * GB) if options.cache == "disk" else 0,
        dtype=None if options.cache_dtype == "computed" else getattr(torch, options.cache_dtype),
        variants=options.cache_variants,
    )


def of(samples: list[Sample], split: Split) -> list[Sample]:
    """Select the samples of a split."""
    return [sample for sample in samples if sample.split == split]


def start_run(pipeline: Pipeline, data: Dataset, output: Path) -> Run:
    """Make a run directory."""
    model = registry.name_of("models", type(pipeline.detector)).rpartition(".")[2].lower()
    try:
        return Run.create(output, model, data.name, data.subset)
    except OSError as error:
        raise InputError(f"--output {output} cannot be written ({error.strerror}): name another folder.") from error


def train_pipeline(
    pipeline: Pipeline,
    samples: list[Sample],
    data: Dataset,
    trainer: TrainerOptions,
    augment: AugmentOptions,
    seed: int,
    run: Run,
    *,
    resume: bool,
) -> None:
    """Train, and say where things are if that does not come to its end."""
    from anomalib_flows.training.fit import fit  # Lightning takes seconds, for which no faulty image need wait

    try:
        finished = fit(
            pipeline, of(samples, "train"), data, trainer, feature_options(trainer), augment, seed, run, resume=resume
        )
    except InputError as error:
        raise InputError(f"{error} The state after the last whole epoch is kept in {run.path}.") from error
    except KeyboardInterrupt:
        finished = False
    if not finished:
        raise KeyboardInterrupt(
            f"Stopped. To go on: anomalib-flows train --resume {run.path}\n"
            f"To use it as it is after its last whole epoch: anomalib-flows calibrate {run.path}"
        )


def describe(
    pipeline: Pipeline,
    data: Dataset,
    trainer: TrainerOptions,
    false_alarm_rate: float,
    seed: int,
    output: Path,
    protocol: Protocol = "calibrated",
    augment: AugmentOptions = AugmentOptions(),  # noqa: B008 (frozen)
    pictures: int = PICTURES,
) -> dict[str, Any]:
    """Write down the options that make the same run again, in plain types."""
    config: dict[str, Any] = checkpoint.plain(
        {
            "model": checkpoint.describe(pipeline)["model"],
            "data": {"class_path": registry.name_of("datasets", type(data)), "init_args": data.options()},
            "trainer": dataclasses.asdict(trainer),
            "heatmap": dataclasses.asdict(pipeline.heatmap),
            "augment": dataclasses.asdict(augment),
            "false_alarm_rate": false_alarm_rate,
            "protocol": protocol,
            "seed": seed,
            "output": str(output),
            "pictures": pictures,
        }
    )
    return config
