"""Detectors made, trained a little, calibrated, saved and compared, and an assertion with a message, for the checks."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.types import ImageSize
from anomalib_flows.models.base import Detector, Features
from anomalib_flows.models.checkpoint import load_pipeline, save_pipeline
from anomalib_flows.models.pipeline import Pipeline

Make = Callable[[ImageSize], Detector]
"""Makes a detector for images of a size: a small one with random weights, since many are made."""

SIZES: tuple[ImageSize, ...] = ((64, 64), (64, 96), (97, 65), (112, 112))
"""Square, oblong, odd, and one for patches of 14 pixels; a detector may refuse some by ``InputError``."""


def accepted(make: Make) -> Iterator[Detector]:
    """Make a detector for each of the sizes that it accepts."""
    refusals = []
    for size in SIZES:
        torch.manual_seed(0)
        try:
            made = make(size)
        except InputError as error:
            refusals.append(str(error))
        else:
            yield made
    ensure(len(refusals) < len(SIZES), f"the detector takes none of the sizes {SIZES}: {' '.join(refusals)}")


def first_accepted(make: Make) -> Detector:
    """Make a detector for the first size that it accepts."""
    return next(accepted(make))


def trained(make: Make) -> Detector:
    """Make a detector and train it a little, since many flows start as the identity, which hides faults."""
    detector = first_accepted(make)
    train_briefly(detector, epochs=3)
    return detector.eval()


def train_briefly(detector: Detector, epochs: int) -> None:
    """Train on one batch of images, the same at every call."""
    optimizer = detector.train().optimizer()
    features = detector.encode(noise_images(detector.image_size))
    detector.fit_statistics(iter([features]))
    for _ in range(epochs):
        for batch in detector.training_batches(features):
            optimizer.zero_grad()
            detector.loss(batch).backward()  # type: ignore[no-untyped-call]
            optimizer.step()


def set_constants_of(detector: Detector) -> None:
    """Set constants as before and after training: the batches come once, in turn, from inference mode."""
    images = noise_images(detector.image_size)
    with torch.inference_mode():
        batches = [detector.eval().encode(some) for some in (images[:3], images[3:])]
    for step in (detector.fit_statistics, detector.fit_local_scale, detector.calibrate):
        step(iter(batches))


def reloaded(detector: Detector) -> Detector:
    """Save and load a detector."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "model.safetensors")
        save_pipeline(Pipeline(detector), file)
        return load_pipeline(file).detector


@torch.no_grad()
def mean_loss(detector: Detector) -> float:
    """Return the mean loss of the training batches, which are the same at every call."""
    torch.manual_seed(0)
    features = detector.train().encode(noise_images(detector.image_size))
    return torch.stack([detector.loss(batch) for batch in detector.training_batches(features)]).mean().item()


@torch.no_grad()
def maps_of(detector: Detector, images: Tensor) -> Tensor:
    """Return the anomaly maps of normalised images."""
    return detector.anomaly_map(detector.eval().encode(images))


def noise_images(size: ImageSize, count: int = 4, seed: int = 0) -> Tensor:
    """Draw normalised images of noise, of shape (count, 3, H, W)."""
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(seed))


def state_of(detector: Detector) -> dict[str, Tensor]:
    """Copy all weights and buffers."""
    return {name: tensor.clone() for name, tensor in detector.state_dict().items()}


def equal_features(one: Features, other: Features) -> bool:
    """Return whether feature maps are equal, bit by bit."""
    return len(one) == len(other) and all(map(torch.equal, one, other))


def relative_difference(maps: Tensor, expected: Tensor) -> float:
    """Return the largest difference of maps (B, M, H, W), relative to the largest value of the map."""
    return float(((maps - expected).abs().amax((0, 2, 3)) / expected.abs().amax((0, 2, 3))).amax())


def ensure_unchanged(detector: Detector, before: dict[str, Tensor], culprit: str) -> None:
    """Raise an AssertionError if weights or buffers have changed."""
    changed = [name for name, tensor in detector.state_dict().items() if not torch.equal(tensor, before[name])]
    ensure(not changed, f"{culprit} changes {', '.join(changed[:3])}")


def ensure(condition: bool, otherwise: str) -> None:
    """Raise an AssertionError with a message unless a condition holds."""
    if not condition:
        raise AssertionError(otherwise)
