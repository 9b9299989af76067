"""The checks of a dataset, which reading, splitting and run directories rely on."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from itertools import pairwise
from typing import get_args

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.finding import natural_key
from anomalib_flows.core.types import ANOMALOUS, NORMAL, Split
from anomalib_flows.data.datasets.base import Dataset
from anomalib_flows.data.loading.reading import read_sample
from anomalib_flows.run.validation import plain
from anomalib_flows.testing.trials import ensure


def check_dataset(dataset: Dataset) -> None:
    """Run all of :data:`DATASET_CHECKS`.

    Args:
        dataset: A dataset that finds its images; a few in the test's own folder are enough.

    Raises:
        AssertionError: If the dataset does not keep the contract; says in one sentence what is wrong.
    """
    for check in DATASET_CHECKS:
        check(dataset)


def check_samples(dataset: Dataset) -> None:
    """Check that there are images to train on, each listed once, sorted by path, the same at every call."""
    samples = dataset.samples()
    paths = [sample.path for sample in samples]
    ensure(any(sample.split == "train" for sample in samples), "samples() gives nothing of the split train")
    twice = [str(one) for one, other in pairwise(sorted(paths)) if one == other]
    ensure(not twice, f"samples() lists {twice[:1]} more than once")
    ensure(paths in (sorted(paths), sorted(paths, key=natural_key)), "samples() is not sorted by path")
    ensure(samples == dataset.samples(), "samples() gives something else at the second call")


def check_labels(dataset: Dataset) -> None:
    """Check that images to train and calibrate on are normal, normal ones 'good', and only anomalous ones masked."""
    for sample in dataset.samples():
        name = sample.path
        ensure(
            sample.split in get_args(Split),
            f"{name} is of split {sample.split!r}: one of {', '.join(get_args(Split))} is expected",
        )
        ensure(sample.label in (NORMAL, ANOMALOUS), f"{name} has label {sample.label!r}: 0 or 1 is expected")
        anomalous = sample.label == ANOMALOUS
        normal_only = sample.split in ("train", "calibration")
        ensure(not (anomalous and normal_only), f"{name} is anomalous and in the split {sample.split}")
        fits = anomalous == (sample.defect != "good")
        ensure(fits, f"{name} has label {sample.label} and defect '{sample.defect}'")
        ensure(anomalous or sample.mask is None, f"{name} is normal and has a mask")


def check_files(dataset: Dataset) -> None:
    """Check that all files exist, and that the first image and mask of each split and defect can be read."""
    samples = dataset.samples()
    missing = [str(sample.path) for sample in samples if not sample.path.is_file()]
    missing += [str(sample.mask) for sample in samples if sample.mask and not sample.mask.exists()]
    ensure(not missing, f"samples() lists {len(missing)} files that do not exist, such as {missing[:1]}")
    try:
        for sample in {(s.split, s.defect, s.mask is None): s for s in reversed(samples)}.values():
            read_sample(sample)
    except InputError as error:
        raise AssertionError(f"samples() lists a file that cannot be used: {error}") from error


def check_names(dataset: Dataset) -> None:
    """Check that name, subset and defects are valid names of folders on every system."""
    for name in {dataset.name, dataset.subset, *(sample.defect for sample in dataset.samples())}:
        fits = re.fullmatch(r'[^/\\:*?"<>|\x00-\x1f]+', name) and name == name.strip() and name.strip(".") != ""
        ensure(bool(fits), f"{name!r} cannot name a folder")


def check_options(dataset: Dataset) -> None:
    """Check that the options are fields of a dataclass, in plain types, and determine the samples."""
    cls = type(dataset)
    own = "__dataclass_fields__" in vars(cls)
    ensure(own, f"{cls.__name__} is not a dataclass: write @dataclass(kw_only=True) above it")
    for field in dataclasses.fields(dataset):
        try:
            json.dumps(plain(getattr(dataset, field.name)))
        except TypeError as error:
            message = f"the option {field.name} is neither number, text, path, list nor None: {error}"
            raise AssertionError(message) from error
    same = dataclasses.replace(dataset).samples() == dataset.samples()
    ensure(same, "another dataset with the same options gives other samples()")


DATASET_CHECKS: tuple[Callable[[Dataset], None], ...] = (
    check_samples,
    check_labels,
    check_files,
    check_names,
    check_options,
)
"""All checks of a dataset."""
