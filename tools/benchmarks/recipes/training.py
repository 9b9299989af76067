"""Train a recipe on features that are computed once, and evaluate it on the way."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from anomalib_flows.core.types import Batch, Sample
from anomalib_flows.data.loading.loader import Loader
from anomalib_flows.inference.fitting import LOCAL_SCALE_IMAGES
from anomalib_flows.models.base import Detector, Features
from anomalib_flows.models.pipeline import Pipeline
from anomalib_flows.models.postprocess import image_scores
from anomalib_flows.run.options import ImageOptions, LoaderOptions
from detection import Truth, aurocs, image_auroc
from recipes.recipe import Changes, Recipe
from recipes.scores import SCORES, Score

PERCENTS = (0.0, 0.5, 1.0, 2.0, 5.0)
"""Percentages of a map's pixels whose mean scores the image, see ``heatmap.top_percent``."""
AT_ONCE = 32
"""Images whose maps are computed at once."""
RECENT = 10
"""Steps whose mean loss is reported."""


@dataclass(frozen=True)
class Schedule:
    """Length and order of a training.

    Args:
        epochs: Passes over the training images.
        evaluations: Number of evaluations, evenly spaced, beside the one before the first step.
        batch_size: Images per batch.
        seed: Seed of the order of the images.
        bfloat16: Whether flows are computed in bfloat16.
    """

    epochs: int
    evaluations: int
    batch_size: int
    seed: int
    bfloat16: bool

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the autocast of the precision."""
        return torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16)

    def evaluates_after(self, epoch: int) -> bool:
        """Return whether an epoch, counted from 0, ends with an evaluation."""
        return (epoch + 1) * self.evaluations // self.epochs > epoch * self.evaluations // self.epochs


@dataclass(frozen=True)
class Encoded:
    """Images of a split.

    Args:
        features: Feature maps of shape (N, C, h, w).
        truth: Ground truth.
    """

    features: Features
    truth: Truth

    def __len__(self) -> int:
        return len(self.features[0])


Splits = dict[str, Encoded]


@torch.no_grad()
def encode(detector: Detector, samples: list[Sample], image: ImageOptions, loader: LoaderOptions) -> Splits:
    """Compute the features of all images once."""
    pipeline, encoded = Pipeline(detector, image.resize), {}
    for split in ("train", "calibration", "test"):
        batches: list[Batch] = []
        features: list[Features] = []
        for batch in Loader([s for s in samples if s.split == split], image, loader):
            features.append(pipeline.features(batch.images))
            batch.images = batch.images[:0]
            batches.append(batch)
        encoded[split] = Encoded([torch.cat(layer) for layer in zip(*features, strict=True)], Truth.of(batches))
    return encoded


class Training:
    """A detector in training.

    Args:
        detector: The detector.
        recipe: How it is trained.
        splits: Features of all images.
        schedule: Length and order of the training.
    """

    def __init__(self, detector: Detector, recipe: Recipe, splits: Splits, schedule: Schedule) -> None:
        self.detector, self.recipe, self.splits, self.schedule = detector, recipe, splits, schedule
        detector.fit_statistics([splits["train"].features])
        self.changes = Changes(recipe, detector)
        self.optimizer = detector.optimizer()
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        self.losses: list[float] = [0.0]
        sizes = map(len, torch.arange(len(splits["train"])).split(schedule.batch_size))
        self.total = schedule.epochs * sum(map(detector.training_batch_count, sizes))

    def run(self) -> Iterator[dict[str, Any]]:
        """Train, and yield metrics before the first step and after some epochs."""
        seconds = 0.0
        yield {"epoch": 0, **self.evaluate()}
        for epoch in range(self.schedule.epochs):
            began = time.process_time()
            self.train_epoch(epoch)
            seconds += time.process_time() - began
            if self.schedule.evaluates_after(epoch):
                recent = {"cpu_s": round(seconds, 1), "loss": statistics.fmean(self.losses[-RECENT:])}
                yield {"epoch": epoch + 1, **recent, **self.evaluate()}

    def train_epoch(self, epoch: int) -> None:
        """Train on all images once."""
        images = self.splits["train"]
        torch.manual_seed(1000 * self.schedule.seed + epoch)
        for chosen in torch.randperm(len(images)).split(self.schedule.batch_size):
            features = self.changes.disturb([f[chosen] for f in images.features], self.progress)
            for batch in self.detector.training_batches(features):
                self.step(batch)

    @property
    def progress(self) -> float:
        """Share of the training that is done, from 0 to 1."""
        return self.changes.steps / self.total

    def step(self, batch: Any) -> None:
        """Take one optimizer step."""
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * self.detector.learning_rate_factor(self.progress)
        with self.schedule.autocast():
            loss = self.detector.loss(batch)
        self.optimizer.zero_grad()
        loss.backward()
        self.changes.before_step()
        self.optimizer.step()
        self.changes.after_step()
        self.losses.append(loss.item())

    @torch.no_grad()
    def evaluate(self) -> dict[str, Any]:
        """Return the metrics of each score, and the loss on held-out normal images."""
        detector = self.changes.averaged(self.detector)
        train, held, test = (self.splits[split] for split in ("train", "calibration", "test"))
        stride = -(-len(train) // LOCAL_SCALE_IMAGES)
        detector.fit_local_scale([[f[::stride] for f in train.features]])
        detector.calibrate([held.features])
        with self.schedule.autocast():
            losses = [detector.loss(batch).item() for batch in detector.training_batches(held.features)]
            found: dict[str, Any] = {"held_out": statistics.fmean(losses)}
            for name in self.recipe.scores:
                score = SCORES[name]
                normal, maps = (maps_of(detector, score, split.features) for split in (held, test))
                found[name] = metrics(score.combine(normal, maps), test.truth)
        return found


def maps_of(detector: Detector, score: Score, features: Features) -> list[Tensor]:
    """Compute the maps of each layer, or those of the model, for many images."""
    batches = zip(*(f.split(AT_ONCE) for f in features), strict=True)
    parts = [score.maps(detector, list(batch)) for batch in batches]
    return [torch.cat(layer).float() for layer in zip(*parts, strict=True)]


def metrics(maps: Tensor, truth: Truth) -> dict[str, float]:
    """Return the pixel AUROC of the first of maps (N, M, H, W), and the image AUROC of the last by share of pixels."""
    found = {"pixel": aurocs(maps[:, 0].numpy(), truth)[1]}
    for percent in PERCENTS:
        found[f"image_{percent:g}"] = image_auroc(image_scores(maps[:, -1:], percent).numpy(), truth)
    return {name: round(value, 4) for name, value in found.items()}
