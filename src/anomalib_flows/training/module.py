"""The Lightning side of training: what is a step, what is an epoch, and what if the loss is no number."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor

from anomalib_flows.core.errors import InputError
from anomalib_flows.data.loading.augmentation import AugmentOptions
from anomalib_flows.data.loading.loader import Loader
from anomalib_flows.inference.features import COMPUTED, FeatureLoader, FeatureOptions
from anomalib_flows.models.pipeline import Pipeline
from anomalib_flows.training.compiled import compiled_loss


class TrainingModule(LightningModule):
    """Train the detector of a pipeline with Lightning's automatic optimisation.

    Args:
        pipeline: What is trained; its encoder stays as it is.
        images: Batches of training images.
        seed: Decides, with the epoch, everything random in an epoch, so that a resumed run repeats it.
        augment: How far images are changed at random, otherwise in each epoch.
        features: How features are computed and kept.
        compiled: Whether the loss is compiled.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        images: Loader,
        seed: int,
        augment: AugmentOptions,
        features: FeatureOptions = COMPUTED,
        *,
        compiled: bool = False,
    ) -> None:
        super().__init__()
        self.loss = compiled_loss(pipeline.detector) if compiled else pipeline.detector.loss
        self.pipeline, self.images, self.seed, self.augment, self.features = pipeline, images, seed, augment, features

    def train_dataloader(self) -> TrainingBatches:
        """Return what Lightning iterates over in each epoch."""
        return TrainingBatches(self)

    def on_train_start(self) -> None:
        """Let the options of today win over those in the checkpoint that a run is resumed from."""
        optimizer, wanted = self.trainer.optimizers[0], self.pipeline.detector.optimizer()
        for group, options in zip(optimizer.param_groups, wanted.param_groups, strict=True):
            group.update({key: value for key, value in options.items() if key != "params"})
        self.rates = [group["lr"] for group in optimizer.param_groups]

    def on_train_epoch_start(self) -> None:
        """Make an epoch's randomness depend on the seed and its number alone."""
        torch.manual_seed(self.seed + self.current_epoch)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Let the learning rate follow the detector's schedule."""
        progress = self.global_step / max(1, int(self.trainer.estimated_stepping_batches))
        factor = self.pipeline.detector.learning_rate_factor(progress)
        for group, rate in zip(self.trainer.optimizers[0].param_groups, self.rates, strict=True):
            group["lr"] = factor * rate

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Return the loss of a training batch."""
        loss: Tensor = self.loss(batch)
        if not loss.isfinite():
            raise InputError(
                f"The loss is {loss.item()} at step {batch_idx + 1} of epoch {self.current_epoch + 1}. Lower "
                f"--model.learning_rate, set --trainer.gradient_clip 1, or train in --trainer.precision 32."
            )
        self.log("loss", loss.detach(), on_step=True, on_epoch=False)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the detector's optimizer."""
        return self.pipeline.detector.optimizer()


class TrainingBatches:
    """Take the features of images, and cut them into training batches.

    This stands in an iterable rather than in the training step, so that a model with several steps for each batch
    of images needs no optimisation by hand: mixed precision, clipping and accumulation work for all models alike.
    """

    def __init__(self, module: TrainingModule) -> None:
        self.module, self.detector = module, module.pipeline.detector
        self.features = FeatureLoader(
            module.pipeline, module.images, module.device, module.features, module.augment, module.seed
        )

    def __len__(self) -> int:
        """Count the steps of an epoch."""
        return sum(map(self.detector.training_batch_count, self.module.images.batch_sizes()))

    def __iter__(self) -> Iterator[Any]:
        """Yield the training batches of the current epoch."""
        self.module.images.set_epoch(self.module.current_epoch)
        for batch in self.features:
            yield from self.detector.training_batches(batch.features)
