"""The detector contract: what the author of a model writes."""

from __future__ import annotations

import copy
import inspect
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from anomalib_flows.core.types import ImageSize
from anomalib_flows.models.options import Model

Features = list[Tensor]
"""Feature maps of shape (B, C, h, w)."""

Triple = tuple[float, float, float]


class Detector(nn.Module, Model):
    """Score images, given normalised images of one size.

    A constructor takes the image size first; its further arguments are the options of the command line. They are
    recorded as ``init_args``, so that a checkpoint can build the detector anew.

    Attributes:
        mean: Mean of each channel with which images are normalised, in [0, 1].
        std: Standard deviation of each channel, likewise.
    """

    IMAGENET_MEAN: ClassVar[Triple] = (0.485, 0.456, 0.406)
    IMAGENET_STD: ClassVar[Triple] = (0.229, 0.224, 0.225)

    published: ClassVar[dict[str, Any]] = {}
    """Arguments of the recipe in the model's paper, where they differ from the defaults whatever the encoder."""

    mean: Triple = IMAGENET_MEAN
    std: Triple = IMAGENET_STD
    image_size: ImageSize
    init_args: dict[str, Any]

    def __new__(cls, *args: Any, **kwargs: Any) -> Detector:
        """Record the arguments; copies made by ``copy`` come without any and bring their own record."""
        self: Detector = super().__new__(cls)
        if args or kwargs:
            bound = inspect.signature(cls).bind(*args, **kwargs)
            bound.apply_defaults()
            (_, image_size), *options = bound.arguments.items()
            self.__dict__.update(image_size=image_size, init_args=dict(options))
        return self

    @abstractmethod
    def encode(self, images: Tensor) -> Features:
        """Return the features of normalised images (B, 3, H, W), frozen and without gradient."""

    def features_key(self) -> str | None:
        """Name all that :meth:`encode` depends on beside the images; None if features may not be kept.

        Models of one name share features.
        """
        return None

    def fit_statistics(self, features: Iterable[Features]) -> None:
        """Set, before the first step, what depends on the features of all training images, batch by batch."""

    def training_batches(self, features: Features) -> Iterator[Any]:
        """Yield what :meth:`loss` takes; the optimizer makes one step for each."""
        yield features

    def training_batch_count(self, images: int) -> int:
        """Count what :meth:`training_batches` yields for a batch of so many images."""
        return 1

    def require_trainable(self, images: int) -> None:
        """Raise an InputError if nothing can be trained on batches of so many images."""

    @abstractmethod
    def loss(self, batch: Any) -> Tensor:
        """Return the loss of one training batch, a scalar."""

    @abstractmethod
    def anomaly_map(self, features: Features) -> Tensor:
        """Return raw maps of shape (B, 1, H, W), higher = more anomalous, each image by itself."""

    def deployable(self) -> Detector:
        """Return a detector of the same maps that is only to be used, never trained: itself, or a leaner one."""
        return self

    def with_parts(self, **modules: nn.Module) -> Self:
        """Return a copy that shares everything with this one but the modules given."""
        other = copy.copy(self)
        other._modules = {**self._modules, **modules}  # noqa: SLF001 (its class is ours)
        return other

    def fit_local_scale(self, features: Iterable[Features]) -> None:
        """Set, after the last step, what depends on how likely training images have become, batch by batch."""

    def calibrate(self, features: Iterable[Features]) -> None:
        """Set the constants that maps depend on from the features of held-out normal images, batch by batch."""

    def optimizer(self) -> torch.optim.Optimizer:
        """Return the optimizer of everything that is trained."""
        return adam([p for p in self.parameters() if p.requires_grad], 1e-3, 1e-5)

    def learning_rate_factor(self, progress: float) -> float:
        """Return the factor of the learning rate when a share of the training, from 0 to 1, is done."""
        return 1.0


def adam(parameters: Iterable[nn.Parameter], learning_rate: float, weight_decay: float = 0.0) -> torch.optim.Adam:
    """Make Adam; on a CPU in one pass over all weights, where that saves the most."""
    trained = list(parameters)
    on_cpu = all(p.device.type == "cpu" for p in trained)
    optimizer = torch.optim.Adam(trained, lr=learning_rate, weight_decay=weight_decay, fused=on_cpu or None)
    if on_cpu:  # Lightning clips no gradients in mixed precision beside an optimizer that unscales them itself
        optimizer._step_supports_amp_scaling = False  # noqa: SLF001
    return optimizer


def squares(z: Tensor) -> Tensor:
    """Squares of z in float32 at least, to be added up."""
    return z.to(torch.promote_types(z.dtype, torch.float32)).square()
