"""From images to a tested detector: the course of a training run."""

from __future__ import annotations

import logging
from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import torch

from anomalib_flows.core import registry
from anomalib_flows.core.commit import together
from anomalib_flows.core.errors import InputError, Interrupted, Stage
from anomalib_flows.core.outputs import require_place
from anomalib_flows.core.timing import cores
from anomalib_flows.core.types import Sample, Split
from anomalib_flows.data.checks.checking import inspect_samples, list_samples, usable
from anomalib_flows.data.checks.scale import InputScale, warn_of_scale
from anomalib_flows.data.datasets.base import Dataset
from anomalib_flows.data.identity import find_duplicates, held_together, warn_of_leaks
from anomalib_flows.data.splits import (
    draw_defects,
    hold_out,
    hold_out_validation,
    redrawn,
    select,
    write_splits,
)
from anomalib_flows.encoders.weights import weights_follow
from anomalib_flows.experiment.evaluate import TestSet, evaluate_run, evaluate_validation, require_both_labels
from anomalib_flows.experiment.resuming import require_resumable, samples_of_run
from anomalib_flows.inference.feature_cache import FeatureOptions
from anomalib_flows.inference.fitting import calibrate_pipeline, fit_local_scale, fit_statistics
from anomalib_flows.inference.runner import PipelineRunner, choose_device, choose_precision
from anomalib_flows.models.checkpoint import save_pipeline
from anomalib_flows.models.pipeline import Pipeline
from anomalib_flows.run.component import Component
from anomalib_flows.run.config import TrainConfig
from anomalib_flows.run.directory import Run, require_free, require_name
from anomalib_flows.training.team import require_devices

if TYPE_CHECKING:
    from anomalib_flows.training.tracking import Tracker

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Experiment:
    """Everything that a training run works with; the configuration has absolute paths and all defaults."""

    config: TrainConfig
    dataset: Dataset
    samples: list[Sample]
    runner: PipelineRunner

    @property
    def place(self) -> tuple[Path, str, str, str]:
        """Folder of run directories, and the names of model, dataset and category, which are folders in it."""
        model = self.config.model.class_path.rpartition(".")[2].lower()
        return self.config.output, model, self.dataset.name, self.dataset.subset

    def of(self, split: Split) -> list[Sample]:
        """Return the samples of a split."""
        return select(self.samples, split)

    def test_set(self, samples: list[Sample]) -> TestSet:
        """Return images of the dataset to evaluate on."""
        return TestSet(self.dataset.name, self.dataset.subset, samples, self.config.pictures)


def train(
    config: TrainConfig, resume: Path | None = None, name: str | None = None, *, trust: bool = False, test: bool = True
) -> Run:
    """Train a detector on normal images, set its thresholds, and test it if there are test images.

    Args:
        config: Everything that makes the run.
        resume: Run directory to continue after its last kept epoch, or from the start if it has none.
        name: Name of the new run directory; by default run-001, or the next free number.
        trust: Whether to import classes that the configuration names and no installed package registers.
        test: Whether to test on the images of the split test, if there are any.

    Returns:
        The run directory.

    Raises:
        InputError: If a value or a file cannot be used.
        Interrupted: If Ctrl-C stopped the run.
    """
    require_name(name)
    if resume and name:
        raise InputError("`name` is that of a new run, and `resume` continues a run: leave out one of them.")
    if resume:
        run = Run.open(resume)
        with run.alone():
            complete_run(resumed_experiment(run, config, trust), run, test=test)
    else:
        require_place("output", config.output)
        experiment = prepare_experiment(config, None, trust)
        if name:
            require_free(Path(*experiment.place, name))
        fit_statistics(experiment.runner, experiment.of("train"))  # before the run exists: an interrupt leaves nothing
        experiment, run = create_run(experiment, name)
        with run.alone():
            complete_run(experiment, run, test=test)
    return run


def complete_run(experiment: Experiment, run: Run, *, test: bool) -> None:
    """Train from where a run is, and set thresholds and test; raise Interrupted if Ctrl-C stopped it."""
    doing: Stage = "training"
    try:
        from anomalib_flows.training.tracking import tracking  # Lightning takes seconds to import

        with tracking(experiment.config, run) as tracker:
            fit_detector(experiment, run, tracker)
            doing = "testing"
            finish(experiment, run, test=test)
    except KeyboardInterrupt:
        raise Interrupted(run.path, doing) from None


def resumed_experiment(run: Run, config: TrainConfig, trust: bool) -> Experiment:
    """Prepare a run to go on, and record where its images are and its options now."""
    experiment = prepare_experiment(config, run, trust)
    require_resumable(run, experiment.config, experiment.runner.pipeline)
    if not run.begun:
        fit_statistics(experiment.runner, experiment.of("train"))
    with together(run.path) as folder:
        write_splits(experiment.samples, Run(folder).splits_file)
        Run(folder).write_config(experiment.config)
    return experiment


def prepare_experiment(config: TrainConfig, resume: Run | None, trust: bool) -> Experiment:
    """Construct dataset and pipeline, and list and check the images, before anything is written."""
    device = choose_device(config.trainer.accelerator)
    if config.trainer.precision == "16-mixed" and device.type == "cpu":
        raise InputError("`trainer.precision` 16-mixed needs CUDA: choose bf16-mixed or 32 on a CPU.")
    require_devices(config.trainer.devices)
    there = torch.cuda.device_count() if device.type == "cuda" else cores()
    if config.trainer.devices > there:
        kind = "GPUs" if device.type == "cuda" else "cores"
        raise InputError(f"`trainer.devices` is {config.trainer.devices}, but the number of {kind} here is {there}.")
    config.trainer.require_logger()
    if config.data is None:
        raise InputError("`data` must be given: name a dataset to train on.")
    dataset: Dataset = config.data.build("datasets", trust=trust)
    dataset.read_only = resume is not None
    samples = samples_of_run(resume, dataset) if resume else split_samples(dataset, config)
    logger.info(count_splits(samples))
    torch.manual_seed(config.seed)
    with weights_follow() if resume and resume.begun else nullcontext():
        detector = config.model.build("models", config.image.height_width, trust=trust)
    images = len(select(samples, "train"))
    config = resolve(config, device, images, detector.largest_batch)
    pipeline = Pipeline(detector, config.image.resize, config.heatmap)
    detector.require_trainable(min(config.loader.images_per_batch, images))
    runner = PipelineRunner(pipeline, device, config.loader, FeatureOptions.of(config.trainer))
    # With absolute paths and all defaults the configuration makes the same run from anywhere.
    model = component_of("models", detector, detector.init_args)
    data = component_of("datasets", dataset, dataset.options())
    complete = replace(config, model=model, data=data, output=config.output.absolute())
    return Experiment(complete, dataset, samples, runner)


def resolve(config: TrainConfig, device: torch.device, images: int, largest_batch: int) -> TrainConfig:
    """Replace defaults that depend on the device, the number of training images or the model by their values."""
    precision: Any = choose_precision(config.trainer.precision, device)
    trainer = replace(config.trainer, precision=precision)
    return replace(config, trainer=trainer, loader=config.loader.for_training(images, largest_batch))


def component_of(kind: registry.Kind, built: object, arguments: dict[str, Any]) -> Component:
    """Return the component of an object, with absolute paths."""
    absolute = {name: value.absolute() if isinstance(value, Path) else value for name, value in arguments.items()}
    return Component(registry.name_of(kind, type(built)), absolute)


def split_samples(dataset: Dataset, config: TrainConfig) -> list[Sample]:
    """List the images of a dataset, check them, and hold out some for calibration and validation."""
    found = inspect_samples(list_samples(dataset), config.loader.max_megapixels)
    samples = usable(found, config.loader.on_error)
    sizes = Counter(one.size for one in found if not one.fault)
    warn_of_scale(sizes, InputScale(config.image.height_width, config.image.resize))
    same = find_duplicates(sample.path for sample in samples)
    if config.protocol == "paper":
        require_published(samples, dataset, config)
    else:
        training = [sample.path for sample in select(samples, "train")]
        together = held_together(training, dataset.together(samples), same)
        samples = hold_out(samples, config.split.calibration_fraction, config.seed, together)
        samples = hold_out_validation(samples, config.split.validation_fraction, config.seed, together)
    warn_of_leaks(samples, same)
    return samples


def require_published(samples: list[Sample], dataset: Dataset, config: TrainConfig) -> None:
    """Raise an InputError if the protocol ``paper`` is impossible."""
    if config.split.validation_fraction:
        raise InputError(
            "`split.validation_fraction` holds out images that `protocol` paper trains on: leave one of them out."
        )
    if config.threshold is not None or config.pixel_threshold is not None:
        raise InputError("`protocol` paper sets thresholds on the test images: leave out those by hand, or `protocol`.")
    if not select(samples, "train"):
        raise InputError(f"{dataset.name} {dataset.subset} has no training images: give good ones of the split train.")
    require_both_labels(select(samples, "test"))


def count_splits(samples: list[Sample]) -> str:
    """Describe how many images each split has, as in 'Images: 120 train, 30 test.'."""
    counted = {split: len(select(samples, split)) for split in get_args(Split)}
    return f"Images: {', '.join(f'{count} {split}' for split, count in counted.items() if count)}."


def create_run(experiment: Experiment, name: str | None) -> tuple[Experiment, Run]:
    """Create the run directory with drawn defects, splits and configuration; return the experiment with the defects."""
    samples, config = list(experiment.samples), experiment.config

    def fill(made: Run) -> None:
        samples.extend(draw_defects(samples, made.validation.drawn, config.seed))
        write_splits(samples, made.splits_file)
        made.write_config(config)

    try:
        run = Run.create(*experiment.place, name=name, fill=fill)
    except OSError as error:
        raise InputError(
            f"`output` {config.output} cannot be written ({error.strerror}): name another folder."
        ) from error
    found = [redrawn(sample, run.path) for sample in samples]  # resuming does so, too
    write_splits(found, run.splits_file)
    return replace(experiment, samples=found), run


def fit_detector(experiment: Experiment, run: Run, tracker: Tracker | None) -> None:
    """Train the detector, and log to a tracker if there is one; raise Interrupted if Ctrl-C stopped it."""
    from anomalib_flows.training.fit import fit  # Lightning takes seconds to import

    try:
        pipeline, samples = experiment.runner.pipeline, experiment.of("train")
        done = fit(pipeline, samples, experiment.config, run, resume=run.begun, tracker=tracker)
    except InputError as error:
        raise InputError(f"{error} The state after the last epoch that was kept is in {run.path}.") from error
    if not done:
        raise Interrupted(run.path, "training")


def finish(experiment: Experiment, run: Run, *, test: bool) -> None:
    """Set the scales, constants and thresholds of a trained pipeline, and evaluate it."""
    runner, config = experiment.runner, experiment.config
    pipeline = runner.pipeline
    fit_local_scale(runner, experiment.of("train"))
    save_pipeline(pipeline, run.model_file)
    if config.protocol == "calibrated":
        calibrate_pipeline(runner, experiment.of("calibration"), config.false_alarm_rate, config.threshold_rule)
        save_pipeline(pipeline, run.model_file)
    if (tested := experiment.of("test")) and test:
        evaluate_run(run, runner, experiment.test_set(tested), config.protocol)
        save_pipeline(pipeline, run.model_file)
    if validated := experiment.of("validation"):
        evaluate_validation(run, runner, experiment.test_set(validated))
