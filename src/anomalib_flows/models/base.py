"""The detector contract: what the author of a model writes."""

from __future__ import annotations

import copy
import inspect
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only

from anomalib_flows.core import registry
from anomalib_flows.core.errors import InputError
from anomalib_flows.core.types import ImageSize
from anomalib_flows.encoders import Triple
from anomalib_flows.models.options import Model

Features = list[Tensor]
"""Feature maps of shape (B, C, h, w)."""


class Detector(nn.Module, Model):
    """Score images, given normalised images of one size.

    A constructor takes the image size first. Its further arguments, together with those of base classes that it passes
    ``**options`` to, are the options of the model. They are recorded as ``init_args``, from which a checkpoint builds
    the detector again.

    Attributes:
        mean: Mean of each channel for the normalisation of images, in [0, 1].
        std: Standard deviation of each channel for the normalisation.
    """

    IMAGENET_MEAN: ClassVar[Triple] = (0.485, 0.456, 0.406)
    IMAGENET_STD: ClassVar[Triple] = (0.229, 0.224, 0.225)

    published: ClassVar[dict[str, Any]] = {}
    """Arguments of the recipe in the model's paper that differ from the defaults, except for the encoder's."""

    earlier: ClassVar[dict[str, Any]] = {}
    """Values of options that models of earlier versions do not name, such that their maps stay the same.

    Those of base classes hold as well, for options that the constructor takes."""

    static_loss: ClassVar[bool] = False
    """Whether the loss is the same operations for all batches of a shape, without waiting for values.

    On CUDA it is then replayed as a graph, in which only tensors change. A class that overrides the loss declares this
    again."""

    largest_batch: ClassVar[int] = 32
    """Largest default number of images per batch in training."""

    mean: Triple = IMAGENET_MEAN
    std: Triple = IMAGENET_STD
    image_size: ImageSize
    init_args: dict[str, Any]

    def __new__(cls, *args: Any, **kwargs: Any) -> Detector:
        """Record the arguments. Copies made by ``copy`` come without arguments and bring their own record."""
        self: Detector = super().__new__(cls)
        if args or kwargs:
            image_size, init_args = recorded_arguments(cls, args, kwargs)
            self.__dict__.update(image_size=image_size, init_args=init_args)
        return self

    @abstractmethod
    def encode(self, images: Tensor) -> Features:
        """Return the features of normalised images (B, 3, H, W), frozen and without gradient."""

    def features_key(self) -> str | None:
        """Return a name for everything that :meth:`encode` depends on except the images; None to never keep features.

        Models of one name share features.
        """
        return None

    def fit_statistics(self, features: Iterable[Features]) -> None:
        """Set what depends on the features of all training images, in batches, before the first step."""

    def training_batches(self, features: Features) -> Iterator[Any]:
        """Yield batches for :meth:`loss`; the optimizer makes one step for each."""
        yield features

    def training_batch_count(self, images: int) -> int:
        """Return the number of training batches for a batch of ``images`` images."""
        return 1

    def part(self, batch: Any, index: int, count: int) -> tuple[Any, float]:
        """Return one of ``count`` parts of a training batch, and its weight, to train in several processes.

        The mean over all parts of weight times loss is the loss of the batch. By default tensors are divided along
        their first dimension, over which the loss must be a mean.
        """
        sizes = {leaf.shape[:1].numel() for leaf in tree_leaves(batch) if isinstance(leaf, Tensor)}  # 1 of a scalar
        if len(sizes) != 1:
            raise InputError(
                f"`trainer.devices` cannot divide batches of {type(self).__name__}, whose tensors have different "
                "lengths: train in one process, or override `part` in the model."
            )
        chosen, weight = part_of(sizes.pop(), index, count)
        return tree_map_only(Tensor, lambda tensor: tensor[chosen], batch), weight

    def require_trainable(self, images: int) -> None:
        """Raise an InputError if batches of ``images`` images are too small to train on."""

    @abstractmethod
    def loss(self, batch: Any) -> Tensor:
        """Return the loss of one training batch, a scalar."""

    @abstractmethod
    def anomaly_map(self, features: Features) -> Tensor:
        """Return raw maps of shape (B, 1, H, W), higher = more anomalous, each image by itself.

        A model that scores images by another map than the one it shows returns both, (B, 2, H, W): the first map is
        shown and gives the mask, the last one gives the image score. Both should have the same unit.
        """

    def deployable(self) -> Detector:
        """Return a detector for inference only that gives the same maps: itself, or a faster one."""
        return self

    def with_parts(self, **modules: nn.Module) -> Self:
        """Return a copy with some modules replaced; it shares everything else with this detector."""
        other = copy.copy(self)
        other._modules = {**self._modules, **modules}  # noqa: SLF001 (its class is ours)
        return other

    def fit_local_scale(self, features: Iterable[Features]) -> None:
        """Set what depends on likelihoods of training images, in batches, after the last step."""

    def calibrate(self, features: Iterable[Features]) -> None:
        """Set constants of the maps from the features of held-out normal images, in batches."""

    def optimizer(self) -> torch.optim.Optimizer:
        """Return the optimizer of all trained weights."""
        return adam([p for p in self.parameters() if p.requires_grad], 1e-3, 1e-5)

    def learning_rate_factor(self, progress: float) -> float:
        """Return the factor of the learning rate at a share of the training, from 0 to 1."""
        return 1.0


def recorded_arguments(
    cls: type[Detector], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[ImageSize, dict[str, Any]]:
    """Return the image size, and all further arguments of a constructor with their defaults."""
    bound = inspect.signature(cls).bind(*args, **kwargs)
    given = dict(bound.arguments)
    for parameter in bound.signature.parameters.values():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            given |= given.pop(parameter.name, {})
    first = next(iter(bound.signature.parameters))
    options = {name: parameter.default for name, parameter in registry.parameters(cls).items()} | given
    return options.pop(first), options


def part_of(size: int, index: int, count: int) -> tuple[slice, float]:
    """Return one of ``count`` parts of ``size`` things, and its size relative to the mean size.

    A part is never empty: where there are fewer things than parts, some are the first one with a weight of 0.

    Example:
        >>> part_of(5, 0, 2), part_of(5, 1, 2), part_of(1, 0, 2)
        ((slice(0, 2, None), 0.8), (slice(2, 5, None), 1.2), (slice(0, 1, None), 0.0))
    """
    start, end = index * size // count, (index + 1) * size // count
    return (slice(start, end), (end - start) * count / size) if end > start else (slice(0, 1), 0.0)


def adam(parameters: Iterable[nn.Parameter], learning_rate: float, weight_decay: float = 0.0) -> torch.optim.Adam:
    """Return Adam; on CPU and CUDA in its fused form, which passes over the weights once."""
    trained = list(parameters)
    fused = all(p.device.type in ("cpu", "cuda") for p in trained)
    optimizer = torch.optim.Adam(trained, lr=learning_rate, weight_decay=weight_decay, fused=fused or None)
    if fused:  # Lightning does not clip gradients in mixed precision for an optimizer that unscales them itself
        optimizer._step_supports_amp_scaling = False  # noqa: SLF001
    return optimizer


def squares(z: Tensor) -> Tensor:
    """Return the squares of z, in float32 at least so that sums are accurate."""
    return z.to(torch.promote_types(z.dtype, torch.float32)).square()
