"""The Lightning module: steps, epochs, and a loss that cannot be compiled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.types import Sample
from anomalib_flows.data.loading.loader import Loader
from anomalib_flows.inference.feature_cache import FeatureOptions
from anomalib_flows.inference.features import Augmentation, FeatureLoader
from anomalib_flows.models.base import Detector
from anomalib_flows.models.pipeline import Pipeline
from anomalib_flows.run.config import TrainConfig
from anomalib_flows.run.options import ImageOptions
from anomalib_flows.training.graphs import GraphedLoss
from anomalib_flows.training.team import world_size


def compiled_loss(detector: Detector) -> Callable[[Any], Tensor]:
    """Compile a detector's loss as one graph, again for each batch size."""
    return torch.compile(detector.loss, dynamic=False, fullgraph=True)


@contextmanager
def compilation_explained() -> Iterator[None]:
    """Raise an InputError that says why something cannot be compiled."""
    from torch._dynamo.exc import TorchDynamoException

    try:
        yield
    except TorchDynamoException as error:
        cause = getattr(error, "inner_exception", error)
        lines = [line.strip() for line in str(cause).splitlines() if line.strip()] or [type(cause).__name__]
        raise InputError(
            f"`trainer.compile` is not possible here: {lines[0].rstrip('.')}. Train without it."
        ) from error


class TrainingModule(LightningModule):
    """Train the detector of a pipeline with Lightning's automatic optimisation; its encoder stays frozen.

    All randomness of an epoch depends on the seed and the epoch, so that a resumed run repeats it.
    """

    def __init__(self, pipeline: Pipeline, samples: list[Sample], config: TrainConfig) -> None:
        super().__init__()
        self.pipeline, self.config = pipeline, config
        detector = pipeline.detector
        if config.trainer.compile:
            self.loss: Callable[[Any], Tensor] = compiled_loss(detector)
        else:  # graphs beside the exchange of gradients between GPUs are untested
            self.loss = GraphedLoss(detector) if world_size() == 1 else detector.loss
        preprocess = pipeline.preprocess
        image = ImageOptions(size=preprocess.size, resize=preprocess.mode)
        self.images = Loader(samples, image, config.loader, config.seed)

    def train_dataloader(self) -> TrainingBatches:
        """Return what Lightning iterates over in each epoch."""
        return TrainingBatches(self)

    def on_train_start(self) -> None:
        """Apply the current options instead of those in the checkpoint of a resumed run."""
        optimizer, wanted = self.trainer.optimizers[0], self.pipeline.detector.optimizer()
        scheduler: Any = self.lr_schedulers()
        scheduler.base_lrs = [group["lr"] for group in wanted.param_groups]
        factor = self._rate_factor(self.global_step)
        for group, options in zip(optimizer.param_groups, wanted.param_groups, strict=True):
            rates = {"lr": factor * options["lr"], "initial_lr": options["lr"]}
            group.update({key: value for key, value in options.items() if key != "params"} | rates)

    def on_train_epoch_start(self) -> None:
        """Seed the epoch, so that its randomness depends only on the seed and its number."""
        torch.manual_seed(self.config.seed + self.current_epoch)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Return the loss of a training batch, or of the part that this process trains on."""
        count = self.trainer.world_size
        if count == 1:
            return self.loss(batch)
        part, weight = self.pipeline.detector.part(batch, self.global_rank, count)
        return weight * self.loss(part)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Return the detector's optimizer, with its learning rate schedule."""
        optimizer = self.pipeline.detector.optimizer()
        scheduler = LambdaLR(optimizer, self._rate_factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _rate_factor(self, step: int) -> float:
        """Return the factor of the learning rate at a step."""
        return self.pipeline.detector.learning_rate_factor(step / max(1, int(self.trainer.estimated_stepping_batches)))


class TrainingBatches:
    """Divide the features of images into the training batches of the current epoch.

    An iterable does this instead of the training step. So a model with several steps for each batch of images needs
    no manual optimisation: mixed precision, clipping and accumulation work for all models.
    """

    def __init__(self, module: TrainingModule) -> None:
        self.module, self.detector = module, module.pipeline.detector
        config = module.config
        augmentation = Augmentation(config.augment, config.seed)
        options = FeatureOptions.of(config.trainer)
        self.features = FeatureLoader(module.pipeline, module.images, module.device, options, augmentation)

    def __len__(self) -> int:
        return sum(map(self.detector.training_batch_count, self.module.images.batch_sizes()))

    def __iter__(self) -> Iterator[Any]:
        self.module.images.set_epoch(self.module.current_epoch)
        for batch in self.features:
            yield from self.detector.training_batches(batch.features)
