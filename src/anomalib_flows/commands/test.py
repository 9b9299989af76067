"""``anomalib-flows test``: figures and pictures of a trained detector."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from jsonargparse import ArgumentParser

from anomalib_flows.commands.summary import print_summary
from anomalib_flows.core import registry
from anomalib_flows.core.errors import InputError
from anomalib_flows.core.types import Protocol, Sample
from anomalib_flows.data.checks.checking import check
from anomalib_flows.data.datasets.base import Dataset
from anomalib_flows.data.splits.duplicates import duplicates, warn_of_leaks
from anomalib_flows.data.splits.splits import read_splits
from anomalib_flows.results.figures import PICTURES, require_count
from anomalib_flows.run.directory import Run
from anomalib_flows.run.options import AugmentOptions


def test(
    run: Path,
    data: Dataset,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    protocol: Protocol = "calibrated",
    disturb: AugmentOptions = AugmentOptions(),  # noqa: B008 (frozen)
    seed: int = 0,
    pictures: int = PICTURES,
) -> Run:
    """Test a trained detector anew, and replace the run's figures, predictions and pictures.

    Images that the run was trained, calibrated or validated with are left out, whatever the dataset says of them today.

    Args:
        run: Run directory that 'train' wrote.
        data: The run's dataset, unless another one is given.
        device: Where to compute.
        protocol: 'paper' chooses constants and thresholds on the test images, for comparison with published tables
            only; the model stays as it is.
        disturb: How far the images are changed at random for a second test, whose figures go beside the first ones'.
        seed: Decides how each image is disturbed.
        pictures: Of how many test images a picture is drawn, at most; 0 for none. Half of them are of anomalous images
            as far as there are enough, each half evenly apart in the order of the files.
            By default as many as in training.

    Raises:
        InputError: If the run is none, is not calibrated, or the dataset has no test split.
    """
    # Importing torch takes seconds, which --help and mistakes have no use for.
    from anomalib_flows.experiment.evaluate import evaluate_disturbed, evaluate_run, evaluate_validation
    from anomalib_flows.inference.predictor import choose_device
    from anomalib_flows.models import checkpoint

    require_count(pictures)
    opened, where = Run.open(run), choose_device(device)
    pipeline = checkpoint.load(opened.model_file)
    samples, validating = test_samples(opened, data), validation_samples(opened)
    if not samples and (disturb.active or not validating):
        raise InputError(f"The dataset {data.name} {data.subset} has no test images: nothing can be tested.")
    if validating:  # first, for the protocol 'paper' changes thresholds
        evaluate_validation(opened, pipeline, validating, data, where, own_dataset(opened), pictures)
    if samples:
        samples = check(samples, data.on_error)
        used = [s for s in read_splits(opened.splits_file) if s.split != "test"]
        warn_of_leaks(used + samples, duplicates(s.path for s in used + samples))
        evaluate_run(opened, pipeline, samples, data, where, protocol, pictures)
    if disturb.active:
        evaluate_disturbed(opened, pipeline, samples, data, where, disturb, seed, pictures)
    print_summary(opened, validated=bool(validating), disturbed=disturb.active)
    return opened


def own_dataset(run: Run) -> Dataset:
    """Make the dataset that the run was made with, whatever is tested now."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--data", type=Dataset)
    described = run.config()["data"]
    path = registry.path_of("datasets", described["class_path"])
    made: Dataset = parser.instantiate(parser.parse_object({"data": described | {"class_path": path}})).data
    return made


def test_samples(run: Run, data: Dataset) -> list[Sample]:
    """List the test images, without those that the run was made with."""
    used = {s.path for s in read_splits(run.splits_file) if s.split != "test"}
    listed = [s for s in data.samples() if s.split == "test"]
    samples = [s for s in listed if s.path.absolute() not in used]
    if left_out := len(listed) - len(samples):
        print(f"Left out {left_out} test images that this run was trained, calibrated or validated with.")
    return samples


def validation_samples(run: Run) -> list[Sample]:
    """List the images that the run is validated with, or none if some of them are gone."""
    samples = [s for s in read_splits(run.splits_file) if s.split == "validation"]
    if missing := [s.path for s in samples if not s.path.is_file()]:
        print(f"Left out the validation: {len(missing)} of its images are gone, such as {missing[0]}.")
        return []
    return samples
