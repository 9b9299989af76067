"""Run a pipeline over samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor
from tqdm import tqdm

from anomalib_flows.calibration import calibrate
from anomalib_flows.data.base import Dataset
from anomalib_flows.data.loading import loader
from anomalib_flows.models.pipeline import Pipeline, hide_padding
from anomalib_flows.types import Batch, InputError, Sample

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
    preprocess = pipeline.preprocess
    data = replace(data, image_size=preprocess.size, resize=preprocess.mode)
    computing, training = [preprocess, pipeline.detector], pipeline.detector.training
    pipeline.detector.eval()
    try:
        for module in computing:
            module.to(device)
        with tqdm(total=len(samples), desc=title, unit="image", delay=1, leave=False) as progress:
            for batch in map(alter, loader(samples, data)):
                with torch.inference_mode():  # and not around modules that move, whose weights could not be trained
                    computed = function(batch.images.to(device))
                yield batch, computed
                progress.update(len(batch.samples))
    finally:
        for module in computing:
            module.cpu()
        pipeline.detector.train(training)


def calibrate_on(
    pipeline: Pipeline, samples: list[Sample], data: Dataset, device: torch.device, false_alarm_rate: float
) -> None:
    """Set a pipeline's constants and thresholds on normal images that it was not trained on."""
    pipeline.protocol = "calibrated"
    set_constants(pipeline, samples, data, device)
    maps = [m for _, m in compute_maps(pipeline, samples, data, device, "Calibrating")]
    calibrate(pipeline.postprocess, torch.cat(maps), false_alarm_rate)


def prepare_detector(pipeline: Pipeline, samples: list[Sample], data: Dataset, device: torch.device) -> None:
    """Set what a detector takes from the features of all training images; one that takes nothing computes nothing."""
    batches = compute(pipeline, pipeline.features, samples, data, device, "Measuring features")
    pipeline.detector.prepare(features for _, features in batches)
    pipeline.detector.cpu()


def balance_detector(pipeline: Pipeline, samples: list[Sample], data: Dataset, device: torch.device) -> None:
    """Set what a trained detector takes from the likelihoods of training images, of which some will do."""
    count = min(len(samples), BALANCING)
    some = [samples[i * len(samples) // count] for i in range(count)]
    batches = compute(pipeline, pipeline.features, some, data, device, "Balancing")
    pipeline.detector.balance(features for _, features in batches)
    pipeline.detector.cpu()


def set_constants(pipeline: Pipeline, samples: list[Sample], data: Dataset, device: torch.device) -> None:
    """Set the constants that a detector's maps depend on; those without any compute nothing."""
    batches = compute(pipeline, pipeline.features, samples, data, device, "Normalising")
    pipeline.detector.calibrate(features for _, features in batches)
    pipeline.detector.cpu()
