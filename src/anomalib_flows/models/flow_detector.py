"""What detectors with one flow for each feature map share: encoder, norms, scales, upsampling, optimizer."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anomalib_flows.core.errors import require
from anomalib_flows.core.limits import require_at_most, require_size
from anomalib_flows.core.types import ImageSize
from anomalib_flows.encoders import DEFAULT_BACKBONE, Triple
from anomalib_flows.encoders.encoder import Encoder
from anomalib_flows.encoders.layers import Padding
from anomalib_flows.encoders.weights import Weights
from anomalib_flows.models.base import Detector, Features, adam
from anomalib_flows.models.components.local_scale import LocalScale, fit_local_scales
from anomalib_flows.models.components.whitening import Norm, fit_whitening, make_norm
from anomalib_flows.models.weight_limit import MOST_WEIGHTS, limited_weights

Schedule = Literal["constant", "cosine", "published"]
Upsampling = Literal["bilinear", "bilinear-aligned", "bicubic", "nearest"]
"""Interpolation; ``bilinear-aligned`` aligns the centres of the outer pixels (PyTorch's ``align_corners``)."""


class FlowDetector(Detector):
    """Learn the density of a frozen encoder's feature maps with normalizing flows.

    A subclass makes its flows after ``super().__init__``, for feature maps of ``self.shapes``: K, h and w of each after
    its norm. It defines ``energies``, ``loss`` and ``anomaly_map``. Exported models replace the flows by faster ones,
    whose z may have its channels in another order; energies must not depend on that order.

    Args:
        image_size: Height H and width W of the images.
        backbone: Name of a model of timm; ``list backbones`` shows them.
        weights: ``pretrained`` (an installed package, timm's cache, or its hub), ``random``, or a file with a state
            dict of that model.
        layers: Indices of timm's feature maps, or of blocks for transformers. By default the maps of ``strides``, or
            the block at two thirds of the depth (CFLOW: blocks 2, 6 and 10 of 12).
        strides: Strides of the feature maps that are used if ``layers`` is not given, as far as the encoder has them.
        padding: ``reflect`` lets the encoder's convolutions reflect borders.
        norm: First operation on feature maps: ``whitened`` by statistics of the training images; ``layer`` norm over
            C, h and w; ``layer-fixed``, the same without weights; or ``none``.
        shrinkage: Shrinkage of ``whitened``: 0 decorrelates the channels, 1 standardises each by itself.
        local_mean: Whether ``whitened`` may subtract another mean at each position.
        components: Principal components that ``whitened`` keeps of each feature map, at most: those of the largest
            variance. By default, and with a shrinkage of 1, all channels are kept.
        local_scale: Degree, from 0 to 1, to which energies are divided by the usual energy at their position.
        upsampling: Interpolation of the maps to the image size.
        learning_rate: Step size of Adam.
        schedule: ``constant`` learning rate; ``cosine`` to zero after a short warm-up; or ``published``, that of CFLOW.
        weight_decay: L2 penalty of Adam.
        timm_args: Further arguments of ``timm.create_model``, such as ``pad_type``.
        mean: Mean of each channel for the normalisation, in [0, 1]; by default timm's.
        std: Standard deviation of each channel for the normalisation; by default timm's.

    Raises:
        InputError: If the backbone, its weights or layers do not exist or do not fit, or a number is out of range.
    """

    depths: ClassVar[Sequence[float]] = (2 / 3,)
    """Blocks that are taken from transformers if ``layers`` is not given, as shares of their depth."""
    final_norm: ClassVar[bool] = True
    """Whether the final norm of a transformer is applied to the tokens of each block."""

    flows: Any  # a ModuleList of bijections, which its type cannot say

    def __init__(
        self,
        image_size: ImageSize,
        backbone: str = DEFAULT_BACKBONE,
        *,
        weights: Weights = "pretrained",
        layers: list[int] | None = None,
        strides: Sequence[int] = (8, 16, 32),
        padding: Padding = "zeros",
        norm: Norm = "whitened",
        shrinkage: float = 0.01,
        local_mean: bool = True,
        components: int | None = None,
        local_scale: float = 0.5,
        upsampling: Upsampling = "bilinear",
        learning_rate: float = 5e-3,
        schedule: Schedule = "cosine",
        weight_decay: float = 1e-5,
        timm_args: dict[str, Any] | None = None,
        mean: Triple | None = None,
        std: Triple | None = None,
    ) -> None:
        super().__init__()
        require(bool(strides) and min(strides) > 0, "strides", strides, "at least one, each above 0")
        require(0 <= shrinkage <= 1, "shrinkage", shrinkage, "from 0 to 1")
        require_size("components", components, 2)
        require(0 <= local_scale <= 1, "local_scale", local_scale, "from 0 to 1")
        require(learning_rate > 0, "learning_rate", learning_rate, "above 0")
        require_at_most("learning_rate", learning_rate)
        require_at_most("timm_args", max([0, *(v for v in (timm_args or {}).values() if isinstance(v, int | float))]))
        require_size("weight_decay", weight_decay, 0)
        require(std is None or min(std) > 0, "std", std, "above 0")
        choice: dict[str, Any] = {"strides": strides, "depths": self.depths, "final_norm": self.final_norm}
        self.encoder = Encoder(image_size, backbone, weights, layers, timm_args, mean, std, padding=padding, **choice)
        self.mean, self.std = self.encoder.mean, self.encoder.std
        limit = components if norm == "whitened" and shrinkage < 1 else None
        self.shapes = [(min(c, limit or c), h, w) for c, h, w in self.encoder.shapes]
        self.norms = nn.ModuleList(
            make_norm(shape, norm, shrinkage, local_mean, kept)
            for shape, (kept, *_) in zip(self.encoder.shapes, self.shapes, strict=True)
        )
        self.scales = nn.ModuleList(LocalScale(shape[1:], local_scale) for shape in self.shapes)
        self.upsample = Upsample(image_size, upsampling)
        self.learning_rate, self.schedule, self.weight_decay = learning_rate, schedule, weight_decay

    def encode(self, images: Tensor) -> Features:
        """Return the encoder's feature maps of normalised images (B, 3, H, W)."""
        return self.encoder(images.contiguous(memory_format=torch.channels_last))  # type: ignore[no-any-return]

    def features_key(self) -> str:
        """Return the fingerprint of the encoder."""
        return self.encoder.fingerprint()

    def fit_statistics(self, features: Iterable[Features]) -> None:
        """Set the statistics that features are whitened by."""
        fit_whitening(self.norms, features)

    @abstractmethod
    def energies(self, features: Features) -> list[Tensor]:
        """Return negative log-likelihoods up to a constant, at least 0, for each feature map, (B, 1, h, w)."""

    def likelihoods(self, energies: Iterable[Tensor]) -> Tensor:
        r"""Return :math:`\exp(-f e)` of energies e with factors f of their positions, upsampled, (M, B, 1, H, W)."""
        return self.upsampled(torch.exp(-energy) for energy in self.scaled(energies))

    def scaled(self, energies: Iterable[Tensor]) -> list[Tensor]:
        """Multiply energies by the factors of their positions, (B, 1, h, w) for each feature map."""
        return [scale(energy) for scale, energy in zip(self.scales, energies, strict=True)]

    def upsampled(self, maps: Iterable[Tensor]) -> Tensor:
        """Upsample maps (B, M, h, w), one tensor for each of S feature maps, (S, B, M, H, W)."""
        return torch.stack([self.upsample(one) for one in maps])

    @torch.no_grad()
    def fit_local_scale(self, features: Iterable[Features]) -> None:
        """Set the usual energy at each position."""
        fit_local_scales(self.scales, (self.energies(batch) for batch in features))

    def optimizer(self) -> torch.optim.Optimizer:
        """Return Adam on norms and flows."""
        trained = [*self.norms.parameters(), *self.flows.parameters()]
        return adam(trained, self.learning_rate, self.weight_decay)

    def learning_rate_factor(self, progress: float) -> float:
        """Return the factor of the learning rate at a share of the training."""
        return SCHEDULES[self.schedule](progress)


def limited_flows(advice: str) -> AbstractContextManager[None]:
    """Return a block in which flows are built, and refused if they are too large to train."""
    millions = MOST_WEIGHTS // 10**6
    return limited_weights(MOST_WEIGHTS, f"The flows would have more than {millions} million weights: choose {advice}.")


def cosine_factor(progress: float) -> float:
    """Rise over the first twentieth, then fall to zero along a cosine."""
    return min(1.0, 0.1 + 18 * progress) * 0.5 * (1 + math.cos(math.pi * progress))


def published_factor(progress: float, epochs: int = 25, warm_up: int = 2, lowest: float = 1e-3) -> float:
    """Rise from a tenth over 2 of 25 epochs, then fall along a cosine, epoch by epoch, to a thousandth."""

    def cosine(epoch: float) -> float:
        return lowest + (1 - lowest) * 0.5 * (1 + math.cos(math.pi * epoch / epochs))

    epoch = progress * epochs
    if epoch < warm_up:
        return 0.1 + epoch / warm_up * (cosine(warm_up) - 0.1)
    return cosine(math.floor(epoch))


SCHEDULES: dict[Schedule, Callable[[float], float]] = {
    "constant": lambda _: 1.0,
    "cosine": cosine_factor,
    "published": published_factor,
}


class Upsample(nn.Module):
    """Upsample maps."""

    def __init__(self, size: ImageSize, mode: Upsampling) -> None:
        super().__init__()
        self.size, self.mode = size, mode

    def forward(self, maps: Tensor) -> Tensor:
        """Upsample maps of shape (B, M, h, w) to (B, M, H, W)."""
        if self.mode == "nearest":
            return F.interpolate(maps, self.size, mode="nearest-exact")
        interpolation, _, aligned = self.mode.partition("-")
        return F.interpolate(maps, self.size, mode=interpolation, align_corners=bool(aligned))
