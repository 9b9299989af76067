"""CFLOW: a conditional normalizing flow on each position of a frozen encoder's feature maps."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from anomalib_flows.core.errors import require
from anomalib_flows.core.limits import require_at_most, require_size
from anomalib_flows.core.types import ImageSize
from anomalib_flows.encoders import DEFAULT_BACKBONE
from anomalib_flows.flows import AffineCoupling, Chain, DenseSubnet, GlobalAffine, Permutation, SoftPermutation
from anomalib_flows.models.base import Features, squares
from anomalib_flows.models.components.local_scale import fit_local_scales
from anomalib_flows.models.components.positions import (
    FeatureVectors,
    PositionalCode,
    PositionFlow,
    draw_positions,
    select_positions,
    shuffled_batches,
)
from anomalib_flows.models.flow_detector import FlowDetector, Schedule, Upsampling, limited_flows


class CFlow(FlowDetector):
    r"""Learn the density of single feature vectors, given their positions in the image.

    A feature vector x of C channels, after whitening, at a position with code c goes through a conditional flow to z.
    With

    .. math::
        \ell(x | c) = \tfrac{1}{C} \bigl(\log |\det \partial z / \partial x| - \tfrac{1}{2} \lVert z \rVert^2\bigr)
        - \tfrac{1}{2} \log 2 \pi

    training minimises the mean of :math:`-\log \mathrm{sigmoid}(\ell)` over the feature vectors, summed over the
    feature maps. The anomaly map is :math:`s - \sum_{maps} \exp(f (\ell - m))`, each exponential upsampled, with a
    factor f for each position, see :class:`~anomalib_flows.models.components.local_scale.LocalScale`. The constants m,
    one for each feature map, and s are the maxima of :math:`\ell` and of the sum over held-out normal images, set by
    :meth:`calibrate`.

    Args:
        condition: Length of the positional code; 0 for flows without a condition.
        steps: Flow steps for each feature map.
        clamp: Bound of a coupling's log-scale; 1.9 as published.
        permutation: ``hard`` reorders channels between the steps; ``soft`` rotates them as published, with C^2
            more weights for each step.
        vectors_per_step: Feature vectors of a feature map in each training step; by default 256, or fewer if a batch of
            images has no more.
        order: ``together`` trains all feature maps in each step, on as many vectors of each as the smallest has;
            ``published`` trains one map after the other for each batch of images, on all its vectors, shuffled.
        max_vectors: Largest number of feature vectors that are transformed at once in inference, at least one of each
            image; bounds the memory.
        norm: First operation on feature maps: ``whitened`` by statistics of the training images, or ``none``.
        components: Principal components that whitening keeps of each feature map, at most; ``null`` keeps all.
        options: Arguments of :class:`~anomalib_flows.models.flow_detector.FlowDetector`.

    References:
        CFLOW-AD: Real-Time Unsupervised Anomaly Detection with Localization via Conditional Normalizing Flows
        (Gudovskiy et al., 2021), https://arxiv.org/abs/2107.12571, sections 4 and 5. Where the paper is silent
        (loss, aggregation of the maps, the published clamp) this follows https://github.com/gudovskiy/cflow-ad, but
        with constants of the model instead of maxima over the test set.

    Example:
        >>> model = CFlow((64, 64), strides=[8, 16], steps=2, vectors_per_step=32)
        >>> features = model.encode(torch.zeros(2, 3, 64, 64))
        >>> [batch[0].vectors.shape for batch in model.training_batches(features)][:1]
        [torch.Size([32, 40])]
        >>> model.anomaly_map(features).shape
        torch.Size([2, 1, 64, 64])
    """

    published: ClassVar[dict[str, Any]] = {
        "backbone": "wide_resnet50_2",
        "norm": "none",
        "components": None,
        "local_scale": 0.0,
        "clamp": 1.9,
        "permutation": "soft",
        "vectors_per_step": 256,
        "order": "published",
        "learning_rate": 2e-4,
        "schedule": "published",
        "padding": "reflect",
    }
    earlier: ClassVar[dict[str, Any]] = {"components": None}
    static_loss = True
    depths = (3 / 12, 7 / 12, 11 / 12)
    final_norm = False
    max_log_probs: Tensor
    max_likelihood_sum: Tensor

    def __init__(
        self,
        image_size: ImageSize,
        backbone: str = DEFAULT_BACKBONE,
        *,
        condition: int = 128,
        steps: int = 8,
        clamp: float = 0.5,
        permutation: Literal["hard", "soft"] = "hard",
        vectors_per_step: int | None = None,
        order: Literal["together", "published"] = "together",
        max_vectors: int = 65536,
        norm: Literal["whitened", "none"] = "whitened",
        components: int | None = 160,
        upsampling: Upsampling = "bilinear-aligned",
        schedule: Schedule = "constant",
        weight_decay: float = 0.0,
        **options: Any,
    ) -> None:
        require(condition >= 0 and condition % 4 == 0, "condition", condition, "a multiple of 4, or 0 for none")
        require_at_most("condition", condition)
        require_size("steps", steps, 1)
        require(clamp > 0, "clamp", clamp, "above 0")
        require_at_most("clamp", clamp)
        require_size("vectors_per_step", vectors_per_step, 1)
        require_size("max_vectors", max_vectors, 1)
        require(norm in ("whitened", "none"), "norm", norm, "whitened or none")
        super().__init__(
            image_size,
            backbone,
            norm=norm,
            components=components,
            upsampling=upsampling,
            schedule=schedule,
            weight_decay=weight_decay,
            **options,
        )
        shapes = self.shapes
        with limited_flows("fewer `components` or `steps`, or another `backbone` or `layers`"):
            flows = [position_steps(shape[0], condition, steps, clamp, permutation) for shape in shapes]
        codes = [PositionalCode(condition, *shape[1:]) if condition else None for shape in shapes]
        self.flows = nn.ModuleList(
            PositionFlow(*chain, code=code, max_vectors=max_vectors) for chain, code in zip(flows, codes, strict=True)
        )
        self.vectors_per_step, self.order = vectors_per_step or 256, order
        self.full_steps = vectors_per_step is not None or order == "published"
        self.sizes = [height * width for _, height, width in shapes]
        self.register_buffer("max_log_probs", torch.zeros(len(shapes)))
        self.register_buffer("max_likelihood_sum", torch.zeros(()))

    def log_prob(self, batch: FeatureVectors) -> Tensor:
        """Return the log-likelihood per channel of feature vectors, (N,)."""
        z, log_det = self.flows[batch.layer].at_positions(batch.vectors, batch.positions)
        return log_prob_per_channel(z, log_det[:, None])[:, 0]

    def log_prob_map(self, layer: int, feature: Tensor) -> Tensor:
        """Return the log-likelihood per channel everywhere in a feature map, (B, C, h, w) -> (B, 1, h, w)."""
        return log_prob_per_channel(*self.flows[layer].on_map(self.norms[layer](channels_last(feature))))

    def loss(self, batch: list[FeatureVectors]) -> Tensor:
        """Return the mean of minus log sigmoid of the log-likelihoods, summed over the feature maps."""
        return torch.stack([-F.logsigmoid(self.log_prob(vectors)).mean() for vectors in batch]).sum()

    def energies(self, features: Features) -> list[Tensor]:
        """Return how far log-likelihoods are below their maxima over normal images, (B, 1, h, w); 0 if they are above.

        Where few images calibrate, training images may be so much more likely that exponentials would overflow.
        """
        log_probs = [self.log_prob_map(i, feature) for i, feature in enumerate(features)]
        return [energy.clamp_min(0) for energy in self._below(self.max_log_probs, log_probs)]

    def _below(self, maxima: Iterable[Tensor], log_probs: list[Tensor]) -> list[Tensor]:
        return [peak.to(log_prob.device) - log_prob for peak, log_prob in zip(maxima, log_probs, strict=True)]

    def anomaly_map(self, features: Features) -> Tensor:
        """Return maps of shape (B, 1, H, W), from about 0 to the number of feature maps; higher is more anomalous."""
        likelihoods = self.likelihoods(self.energies(features)).sum(0)
        return self.max_likelihood_sum.to(likelihoods.device) - likelihoods

    @torch.no_grad()
    def fit_local_scale(self, features: Iterable[Features]) -> None:
        """Set the usual energy at each position, below the highest log-likelihood of a typical image."""
        if not any(scale.strength for scale in self.scales):
            return
        batches = [self.log_prob_maps(batch) for batch in features]
        highest = [torch.cat([m.flatten(1).amax(1) for m in maps]) for maps in zip(*batches, strict=True)]
        typical = [of_layer.median() for of_layer in highest]
        fit_local_scales(self.scales, (self._below(typical, maps) for maps in batches))

    @torch.no_grad()
    def calibrate(self, features: Iterable[Features]) -> None:
        """Set the constants to the maxima over images: of each layer's log-likelihood, and of the sum of the maps."""
        batches = [self.log_prob_maps(batch) for batch in features]
        layers = zip(*batches, strict=True)
        self.max_log_probs.copy_(torch.stack([torch.stack([m.amax() for m in maps]).amax() for maps in layers]))
        sums = [self.likelihoods(self._below(self.max_log_probs, maps)).sum(0) for maps in batches]
        self.max_likelihood_sum.copy_(torch.stack([likelihoods.amax() for likelihoods in sums]).amax())

    def log_prob_maps(self, features: Features) -> list[Tensor]:
        """Return :meth:`log_prob_map` of all layers, in float32 on the CPU, to be kept for many images."""
        return [self.log_prob_map(i, feature).float().cpu() for i, feature in enumerate(features)]

    def training_batches(self, features: Features) -> Iterator[list[FeatureVectors]]:
        """Yield feature vectors of all layers, or of one at a time in the published order."""
        normed = [norm(channels_last(feature)) for norm, feature in zip(self.norms, features, strict=True)]
        vectors = [rearrange(feature, "b c h w -> b (h w) c") for feature in normed]
        if self.order == "published":
            for layer, of_layer in enumerate(vectors):
                yield from ([batch] for batch in shuffled_batches(layer, of_layer, self.vectors_per_step))
            return
        count = self.training_batch_count(len(features[0]))
        each, device = self.positions_per_step(len(features[0])), features[0].device
        positions = [draw_positions(v.shape[1], count, each, device) for v in vectors]
        for chosen in zip(*positions, strict=True):
            yield [select_positions(layer, v, p) for layer, (v, p) in enumerate(zip(vectors, chosen, strict=True))]

    def training_batch_count(self, images: int) -> int:
        """Return the number of steps for a batch of ``images`` images."""
        if self.order == "published":
            return sum(images * size // self.vectors_per_step for size in self.sizes)
        return max(1, min(self.sizes) // self.positions_per_step(images))

    def positions_per_step(self, images: int) -> int:
        """Return the number of positions of each of ``images`` images in a step."""
        return min(max(1, self.vectors_per_step // images), *self.sizes)

    def part(self, batch: list[FeatureVectors], index: int, count: int) -> tuple[list[FeatureVectors], float]:
        """Return some of the images of a training batch, or of the positions if there are fewer images."""
        parts = [vectors.part(index, count) for vectors in batch]  # equal weights: all layers have as many
        return [part for part, _ in parts], parts[0][1]

    def require_trainable(self, images: int) -> None:
        """Raise an InputError if a batch of ``images`` images has fewer feature vectors than a step takes."""
        available = images * min(self.sizes)
        require(
            self.vectors_per_step <= available or not self.full_steps,
            "vectors_per_step",
            self.vectors_per_step,
            f"at most {available}, as many as {images} images have, or left out; larger batches of images have more",
        )


def channels_last(feature: Tensor) -> Tensor:
    """Store a feature map (B, C, h, w) vector by vector, as encoders return it, so that vectors are read quickly."""
    return feature.contiguous(memory_format=torch.channels_last)


def log_prob_per_channel(z: Tensor, log_det: Tensor) -> Tensor:
    """Return the log-likelihood divided by C of z (N, C, ...) with log-determinants (N, 1, ...)."""
    energy = 0.5 * squares(z).sum(1, keepdim=True)
    return (log_det - energy) / z.shape[1] - 0.5 * math.log(2 * math.pi)


def position_steps(channels: int, condition: int, steps: int, clamp: float, permutation: str) -> list[Chain]:
    """Return the steps of a feature map's flow: coupling, scaling and permutation in each."""
    permute = {"hard": Permutation, "soft": SoftPermutation}[permutation]
    subnet = partial(DenseSubnet, condition=condition)
    return [
        Chain(AffineCoupling(channels, subnet, clamp), GlobalAffine(channels), permute(channels)) for _ in range(steps)
    ]
