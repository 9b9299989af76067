"""Run a pipeline over samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor
from tqdm import tqdm

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.types import Batch, Sample
from anomalib_flows.data.datasets.base import Dataset
from anomalib_flows.data.loading.loader import Loader, loader
from anomalib_flows.inference.calibration import calibrate
from anomalib_flows.inference.features import COMPUTED, FeatureBatch, FeatureLoader, FeatureOptions
from anomalib_flows.models.pipeline import Pipeline, hide_padding

T = TypeVar("T")

BALANCING = 128
"""How many training images a detector is balanced with, at most."""


def choose_device(accelerator: str) -> torch.device:
    """Turn ``auto``, ``cpu`` or ``cuda`` into a device.

    Raises:
        InputError: If CUDA is asked for and not there.
    """
    available = torch.cuda.is_available()
    if accelerator == "cuda" and not available:
        raise InputError("'cuda' was asked for, but torch sees no CUDA device: choose 'cpu' or 'auto'.")
    return torch.device("cuda" if available and accelerator != "cpu" else "cpu")


def unaltered(batch: Batch) -> Batch:
    """Return a batch as it was read."""
    return batch


def compute_maps(
    pipeline: Pipeline,
    samples: list[Sample],
    data: Dataset,
    device: torch.device,
    title: str,
    alter: Callable[[Batch], Batch] = unaltered,
) -> Iterator[tuple[Batch, Tensor]]:
    """Yield batches of samples with their raw anomaly maps, of shape (B, 1, H, W) and on the CPU."""
    for batch, maps in compute(pipeline, pipeline.maps, samples, data, device, title, alter):
        yield batch, hide_padding(maps.cpu(), batch.contents)


def compute(
    pipeline: Pipeline,
    function: Callable[[Tensor], T],
    samples: list[Sample],
    data: Dataset,
    device: torch.device,
    title: str,
    alter: Callable[[Batch], Batch] = unaltered,
) -> Iterator[tuple[Batch, T]]:
    """Yield batches of samples with a function of their resized images, which may be altered first.

    Size and resizing are the pipeline's, whatever the dataset says. Decisions are made on the CPU: only what
    computes maps is moved to the device.
    """
    with on_device(pipeline, device), tqdm(total=len(samples), desc=title, unit="image", delay=1, leave=False) as bar:
        for batch in map(alter, images_of(pipeline, samples, data)):
            with torch.inference_mode():  # and not around modules that move, whose weights could not be trained
                computed = function(batch.images.to(device))
            yield batch, computed
            bar.update(len(batch.samples))


def compute_features(
    pipeline: Pipeline,
    samples: list[Sample],
    data: Dataset,
    device: torch.device,
    title: str,
    options: FeatureOptions = COMPUTED,
) -> Iterator[FeatureBatch]:
    """Yield batches of the features of samples in float32, kept or computed and kept."""
    with on_device(pipeline, device), tqdm(total=len(samples), desc=title, unit="image", delay=1, leave=False) as bar:
        for batch in FeatureLoader(pipeline, images_of(pipeline, samples, data), device, options):
            yield batch
            bar.update(len(batch))


def images_of(pipeline: Pipeline, samples: list[Sample], data: Dataset) -> Loader:
    """Load images with the pipeline's size and way of resizing, whatever the dataset says."""
    return loader(samples, replace(data, image_size=pipeline.preprocess.size, resize=pipeline.preprocess.mode))


@contextmanager
def on_device(pipeline: Pipeline, device: torch.device) -> Iterator[None]:
    """Move what computes maps to a device, to be used and not trained; decisions are made on the CPU."""
    computing, training = [pipeline.preprocess, pipeline.detector], pipeline.detector.training
    pipeline.detector.eval()
    try:
        for module in computing:
            module.to(device)
        yield
    finally:
        for module in computing:
            module.cpu()
        pipeline.detector.train(training)


def calibrate_on(
    pipeline: Pipeline,
    samples: list[Sample],
    data: Dataset,
    device: torch.device,
    false_alarm_rate: float,
    options: FeatureOptions = COMPUTED,
) -> None:
    """Set a pipeline's constants and thresholds on normal images that it was not trained on."""
    exact = as_judged(options)
    pipeline.protocol = "calibrated"
    set_constants(pipeline, samples, data, device, exact)
    maps = []
    for batch in compute_features(pipeline, samples, data, device, "Calibrating", exact):
        with torch.inference_mode():
            maps.append(hide_padding(pipeline.maps_of(batch.features).cpu(), batch.contents))
    calibrate(pipeline.postprocess, torch.cat(maps), false_alarm_rate)


def as_judged(options: FeatureOptions) -> FeatureOptions:
    """Compute features as those of images that are judged, and keep them as they are."""
    return replace(options, precision=torch.float32, dtype=None)


def fit_statistics(
    pipeline: Pipeline,
    samples: list[Sample],
    data: Dataset,
    device: torch.device,
    options: FeatureOptions = COMPUTED,
) -> None:
    """Set what a detector takes from the features of all training images; one that takes nothing computes nothing."""
    batches = compute_features(pipeline, samples, data, device, "Encoding", options)
    pipeline.detector.fit_statistics(batch.features for batch in batches)
    pipeline.detector.cpu()


def fit_local_scale(
    pipeline: Pipeline,
    samples: list[Sample],
    data: Dataset,
    device: torch.device,
    options: FeatureOptions = COMPUTED,
) -> None:
    """Set what a trained detector takes from the likelihoods of training images, of which some will do."""
    count = min(len(samples), BALANCING)
    some = [samples[i * len(samples) // count] for i in range(count)]
    batches = compute_features(pipeline, some, data, device, "Balancing", as_judged(options))
    pipeline.detector.fit_local_scale(batch.features for batch in batches)
    pipeline.detector.cpu()


def set_constants(
    pipeline: Pipeline,
    samples: list[Sample],
    data: Dataset,
    device: torch.device,
    options: FeatureOptions = COMPUTED,
) -> None:
    """Set the constants that a detector's maps depend on; those without any compute nothing."""
    batches = compute_features(pipeline, samples, data, device, "Normalising", options)
    pipeline.detector.calibrate(batch.features for batch in batches)
    pipeline.detector.cpu()
