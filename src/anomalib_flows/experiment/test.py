"""Test a trained detector or an exported model again."""

from __future__ import annotations

import logging
from pathlib import Path

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.outputs import require_place
from anomalib_flows.core.types import Sample
from anomalib_flows.data.checks.checking import list_samples
from anomalib_flows.data.datasets.base import Dataset
from anomalib_flows.data.identity import find_duplicates, warn_of_leaks
from anomalib_flows.data.splits import known_to, read_splits, select
from anomalib_flows.experiment.evaluate import (
    TestSet,
    evaluate_disturbed,
    evaluate_results,
    evaluate_run,
    evaluate_validation,
)
from anomalib_flows.experiment.facts import about_card
from anomalib_flows.experiment.options import TestOptions
from anomalib_flows.inference.runner import PipelineRunner, choose_device
from anomalib_flows.models.checkpoint import load_pipeline
from anomalib_flows.run.component import Component
from anomalib_flows.run.config import FIGURES
from anomalib_flows.run.directory import Run, is_exported
from anomalib_flows.run.options import LoaderOptions

logger = logging.getLogger(__name__)


def test(run: Path, options: TestOptions, *, trust: bool = False) -> Run:
    """Test a trained detector again, and replace the metrics, predictions and figures of its run.

    Images that the run was trained, calibrated or validated with are left out, even if the dataset now lists them as
    test images.

    Args:
        run: Run directory, or exported model (.xml).
        options: Data, device and protocol.
        trust: Whether to import a class that the run or an option names and no installed package registers.

    Returns:
        The folder of the results.

    Raises:
        InputError: If the run is invalid or not calibrated, or there are no test images.
    """
    if is_exported(run):
        return test_exported(run, options, trust)
    opened = Run.open(run, trust=trust)
    with opened.alone():
        test_run(opened, options, trust)
    return opened


def test_run(opened: Run, options: TestOptions, trust: bool) -> None:
    """Test a run that no other command writes to."""
    device, config = choose_device(options.device), opened.config()
    runner = PipelineRunner(load_pipeline(opened.model_file, trust=trust), device, options.loader or config.loader)
    figures = config.pictures if options.pictures is None else options.pictures
    dataset = dataset_of(options.data or config.data, trust)
    tested = TestSet(dataset.name, dataset.subset, unused_samples(opened, dataset), figures)
    validated = validation_samples(opened)
    if not tested.samples and (options.disturb.active or not validated):
        raise InputError(no_test_images(dataset))
    if validated:  # first: the protocol ``paper`` changes thresholds
        own = dataset_of(config.data, trust) if config.data else dataset
        evaluate_validation(opened, runner, TestSet(own.name, own.subset, validated, figures))
    if tested.samples:
        known = [s for s in read_splits(opened.splits_file) if s.split != "test"] + list(tested.samples)
        warn_of_leaks(known, find_duplicates(s.path for s in known))
        evaluate_run(opened, runner, tested, options.protocol)
    if options.disturb.active:
        evaluate_disturbed(opened, runner, tested, options.disturb, options.seed)


def test_exported(model: Path, options: TestOptions, trust: bool) -> Run:
    """Test an exported model, and write metrics, predictions and figures to ``options.output``.

    Its maps are normalised and end at 0 and 1: pixel metrics count values beyond as ties.
    """
    if options.data is None or options.output is None:
        raise InputError("An exported model needs `data` to test on and a folder `output` for the results.")
    require_place("output", options.output)
    if options.disturb.active or options.protocol == "paper":
        raise InputError(f"{model} is an exported model: `disturb` and `protocol` paper need the run.")
    from anomalib_flows.inference.exported import ExportedPredictor  # OpenVINO is an optional extra

    dataset = dataset_of(options.data, trust)
    figures = FIGURES if options.pictures is None else options.pictures
    tested = TestSet(dataset.name, dataset.subset, select(list_samples(dataset), "test"), figures)
    if not tested.samples:
        raise InputError(no_test_images(dataset))
    predictor = ExportedPredictor(model, options.loader or LoaderOptions(), "CPU")
    folder = Run(options.output)
    folder.path.mkdir(parents=True, exist_ok=True)
    about = about_card(model, predictor.card)
    evaluate_results(folder, predictor.predict(tested.samples), tested, predictor.thresholds, about)
    return folder


def no_test_images(dataset: Dataset) -> str:
    """Return the message for a dataset without test images."""
    given = "give defective ones as `abnormal` and good ones as `normal_test`"
    advice = given if dataset.name == "folder" else "add some, or name another dataset"
    return f"The dataset {dataset.name} {dataset.subset} has no test images: {advice}."


def dataset_of(component: Component | None, trust: bool) -> Dataset:
    """Construct the dataset to test on."""
    if component is None:
        raise InputError("The run was imported without a dataset: name one as `data`.")
    dataset: Dataset = component.build("datasets", trust=trust)
    dataset.read_only = True
    return dataset


def unused_samples(run: Run, dataset: Dataset) -> list[Sample]:
    """List the test images, without those whose content the run was made with."""
    own = {s.path for s in read_splits(run.splits_file) if s.split == "test"}
    listed = select(list_samples(dataset), "test")
    used = {s.path.absolute() for s in known_to(run.splits_file, listed, lambda s: s.split != "test")} - own
    samples = [s for s in listed if s.path.absolute() not in used]
    if left_out := len(listed) - len(samples):
        logger.info("Left out %d test images that this run was trained, calibrated or validated with.", left_out)
    return samples


def validation_samples(run: Run) -> list[Sample]:
    """List the images that the run is validated with; none if some of them are missing."""
    samples = select(read_splits(run.splits_file), "validation")
    if missing := [s.path for s in samples if not s.path.is_file()]:
        logger.info("Left out the validation: %d of its images are missing, such as %s.", len(missing), missing[0])
        return []
    return samples
