"""CFLOW: a conditional normalizing flow on each position of a frozen encoder's feature maps."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from anomalib_flows.core.errors import require
from anomalib_flows.core.types import ImageSize
from anomalib_flows.encoders.encoder import Encoder, Triple, Weights
from anomalib_flows.flows import (
    AffineCoupling,
    Chain,
    DenseSubnet,
    FoldedFlow,
    GlobalAffine,
    Permutation,
    SoftPermutation,
    fold,
)
from anomalib_flows.models.base import Detector, Features, adam, squares
from anomalib_flows.models.components.feature_vectors import FeatureVectors, draw_positions, pick, shuffled
from anomalib_flows.models.components.local_scale import LocalScale, set_scales
from anomalib_flows.models.components.positions import PositionalCode
from anomalib_flows.models.components.schedules import SCHEDULES
from anomalib_flows.models.components.upsample import Upsampling, upsample
from anomalib_flows.models.components.whitening import make_norm, whiten


class CFlow(Detector):
    r"""Learn the density of single feature vectors, given where in the image they are.

    A feature vector x of C channels at a position with code c goes through a conditional flow to z. With

    .. math::
        \ell(x | c) = \tfrac{1}{C} \bigl(\log |\det \partial z / \partial x| - \tfrac{1}{2} \lVert z \rVert^2\bigr)
        - \tfrac{1}{2} \log 2 \pi

    training minimises the mean of :math:`-\log \mathrm{sigmoid}(\ell)` over the feature vectors, summed over the
    feature maps. The anomaly map is :math:`s - \sum_{maps} \exp(f (\ell - m))`, each exponential upsampled, with a
    factor f for each position, see :class:`~anomalib_flows.models.components.local_scale.LocalScale`. The constants m, one for each
    feature map, and s are the maxima of :math:`\ell` and of the sum over held-out normal images, found by
    :meth:`calibrate`.

    Args:
        image_size: Height H and width W of the images.
        backbone: Name of a model of timm, see ``anomalib-flows list backbones``.
        weights: ``pretrained`` (timm's cache or hub), ``random``, or a file with a state dict of that model.
        layers: Indices of timm's feature maps, or of blocks for transformers. By default the maps of stride 8, 16
            and 32, or blocks 2, 6 and 10 of 12.
        norm: What feature maps go through first: ``whitened`` by statistics of the training images, or ``none`` as
            published.
        shrinkage: Of ``whitened``: 0 decorrelates the channels, 1 standardises each by itself.
        local_mean: Of ``whitened``: whether each position may have a mean of its own.
        condition: Length of the positional code; 0 for flows without a condition.
        steps: Flow steps for each feature map.
        clamp: Bound of a coupling's log-scale; 1.9 as published.
        permutation: ``hard`` reorders channels between the steps; ``soft`` rotates them as published, with C^2
            more weights for each step.
        vectors_per_step: Feature vectors of a feature map in each training step; by default 256, or fewer if a batch of
            images has no more.
        order: ``together`` trains all feature maps in each step, on as many vectors of each as the smallest has;
            ``published`` one after the other for each batch of images, on all their vectors, shuffled.
        max_vectors: Feature vectors that are transformed at once in inference, at least one of each image, which
            bounds its memory.
        local_scale: How far energies are taken in units of what is usual at their position, from 0 to 1.
        upsampling: How likelihoods become maps of the image's size.
        learning_rate: Step size of Adam; 2e-4 as published.
        schedule: ``constant`` learning rate; ``cosine`` to zero after a short warm-up; or as ``published``.
        padding: ``reflect`` if the encoder's convolutions shall reflect borders, as in the published implementation.
        timm_args: Further arguments of ``timm.create_model``, such as ``pad_type``.
        mean: Mean of each channel for the normalisation, in [0, 1]; by default what timm states.
        std: Standard deviation of each channel, likewise.

    Raises:
        InputError: If the backbone, its weights or layers do not exist or do not fit, or a number is out of range.

    References:
        CFLOW-AD: Real-Time Unsupervised Anomaly Detection with Localization via Conditional Normalizing Flows
        (Gudovskiy et al., 2021), https://arxiv.org/abs/2107.12571, sections 4 and 5; where the paper is silent
        (loss, aggregation of the maps, the published clamp) as in https://github.com/gudovskiy/cflow-ad, but with
        constants of the model in place of maxima over the test set.

    Example:
        >>> model = CFlow((64, 64), "texture13", layers=[2, 3], steps=2, vectors_per_step=32)
        >>> features = model.encode(torch.zeros(2, 3, 64, 64))
        >>> [batch[0].vectors.shape for batch in model.training_batches(features)][:1]
        [torch.Size([32, 48])]
        >>> model.anomaly_map(features).shape
        torch.Size([2, 1, 64, 64])
    """

    published: ClassVar[dict[str, Any]] = {
        "norm": "none",
        "local_scale": 0.0,
        "clamp": 1.9,
        "permutation": "soft",
        "vectors_per_step": 256,
        "order": "published",
        "learning_rate": 2e-4,
        "schedule": "published",
        "padding": "reflect",
    }
    max_log_probs: Tensor
    max_likelihood_sum: Tensor
    codes: Any  # a ModuleList of positional codes, which its type cannot say

    def __init__(
        self,
        image_size: ImageSize,
        backbone: str = "wide_resnet50_2",
        weights: Weights = "pretrained",
        layers: list[int] | None = None,
        norm: Literal["whitened", "none"] = "whitened",
        shrinkage: float = 0.01,
        local_mean: bool = True,
        condition: int = 128,
        steps: int = 8,
        clamp: float = 0.5,
        permutation: Literal["hard", "soft"] = "hard",
        vectors_per_step: int | None = None,
        order: Literal["together", "published"] = "together",
        max_vectors: int = 65536,
        local_scale: float = 0.5,
        upsampling: Upsampling = "bilinear-aligned",
        learning_rate: float = 5e-3,
        schedule: Literal["constant", "cosine", "published"] = "constant",
        padding: Literal["zeros", "reflect"] = "zeros",
        timm_args: dict[str, Any] | None = None,
        mean: Triple | None = None,
        std: Triple | None = None,
    ) -> None:
        super().__init__()
        require(condition >= 0 and condition % 4 == 0, "--model.condition", condition, "a multiple of 4, or 0 for none")
        require(steps >= 1, "--model.steps", steps, "at least 1")
        require(clamp > 0, "--model.clamp", clamp, "above 0")
        require(norm in ("whitened", "none"), "--model.norm", norm, "whitened or none")
        require(0 <= local_scale <= 1, "--model.local_scale", local_scale, "from 0 to 1")
        require(0 <= shrinkage <= 1, "--model.shrinkage", shrinkage, "from 0 to 1")
        require(
            vectors_per_step is None or vectors_per_step >= 1,
            "--model.vectors_per_step",
            vectors_per_step,
            "at least 1",
        )
        require(max_vectors >= 1, "--model.max_vectors", max_vectors, "at least 1")
        require(learning_rate > 0, "--model.learning_rate", learning_rate, "above 0")
        require(std is None or min(std) > 0, "--model.std", std, "above 0")
        self.encoder = Encoder(
            image_size,
            backbone,
            weights,
            layers,
            timm_args,
            mean,
            std,
            strides=(8, 16, 32),
            depths=(3 / 12, 7 / 12, 11 / 12),
            final_norm=False,
            padding=padding,
        )
        self.mean, self.std = self.encoder.mean, self.encoder.std
        shapes = self.encoder.shapes
        self.norms = nn.ModuleList(make_norm(shape, norm, shrinkage, local_mean) for shape in shapes)
        self.flows = nn.ModuleList(make_flow(shape[0], condition, steps, clamp, permutation) for shape in shapes)
        self.codes = nn.ModuleList(PositionalCode(condition, *shape[1:]) for shape in shapes if condition)
        self.vectors_per_step, self.order = vectors_per_step or 256, order
        self.whole_steps = vectors_per_step is not None or order == "published"
        self.scales = nn.ModuleList(LocalScale(shape[1:], local_scale) for shape in shapes)
        self.max_vectors, self.upsampling = max_vectors, upsampling
        self.learning_rate, self.schedule = learning_rate, schedule
        self.sizes = [height * width for _, height, width in shapes]
        self.register_buffer("max_log_probs", torch.zeros(len(shapes)))
        self.register_buffer("max_likelihood_sum", torch.zeros(()))

    def encode(self, images: Tensor) -> Features:
        """Return the encoder's feature maps of normalised images (B, 3, H, W)."""
        return self.encoder(images.contiguous(memory_format=torch.channels_last))  # type: ignore[no-any-return]

    def features_key(self) -> str:
        """Return what the encoder says of itself."""
        return self.encoder.fingerprint()

    def log_prob(self, vectors: FeatureVectors) -> Tensor:
        """Return the log-likelihood per channel of feature vectors, (N,)."""
        layer, vectors, positions = vectors
        return self._log_prob(layer, vectors, self.codes[layer].at(positions) if self.codes else None)

    def _log_prob(self, layer: int, vectors: Tensor, condition: Any) -> Tensor:
        z, log_det = self.flows[layer](vectors, condition)
        return per_channel(z, log_det[:, None])[:, 0]

    def log_prob_map(self, layer: int, feature: Tensor) -> Tensor:
        """Return the log-likelihood per channel everywhere in a feature map, (B, C, h, w) -> (B, 1, h, w)."""
        normed, flow = self.norms[layer](vectors_last(feature)), self.flows[layer]
        if isinstance(flow, FoldedFlow):
            return per_channel(*flow(normed))
        vectors = rearrange(normed, "b c h w -> b (h w) c")
        if vectors[..., 0].numel() <= self.max_vectors:
            condition = self.codes[layer].everywhere() if self.codes else None
            log_probs = self._log_prob(layer, vectors.flatten(0, 1), condition).view(len(feature), -1)
        else:
            positions = torch.split(torch.arange(vectors.shape[1]), max(1, self.max_vectors // len(feature)))
            log_probs = torch.cat([self.log_prob(pick(layer, vectors, p)).view(len(feature), -1) for p in positions], 1)
        return log_probs.view(len(feature), 1, *feature.shape[2:])

    def loss(self, batch: list[FeatureVectors]) -> Tensor:
        """Return the sum over the feature maps of the mean of minus log sigmoid of the log-likelihoods."""
        return torch.stack([-F.logsigmoid(self.log_prob(vectors)).mean() for vectors in batch]).sum()

    def anomaly_map(self, features: Features) -> Tensor:
        """Return maps of shape (B, 1, H, W), from about 0 to the number of feature maps; higher is more anomalous."""
        return self._aggregate([self.log_prob_map(i, feature) for i, feature in enumerate(features)])

    def _aggregate(self, log_probs: list[Tensor]) -> Tensor:
        max_log_probs = self.max_log_probs.to(log_probs[0].device)
        likelihoods = [
            torch.exp(-scale(peak - log_prob))
            for scale, log_prob, peak in zip(self.scales, log_probs, max_log_probs, strict=True)
        ]
        upsampled = [upsample(likelihood, self.image_size, self.upsampling) for likelihood in likelihoods]
        return self.max_likelihood_sum.to(log_probs[0].device) - torch.stack(upsampled).sum(0)

    @torch.no_grad()
    def fit_local_scale(self, features: Iterable[Features]) -> None:
        """Take what is usual at each position, below the highest log-likelihood of a typical image."""
        if not any(scale.strength for scale in self.scales):
            return
        batches = [self.log_prob_maps(batch) for batch in features]
        highest = [torch.cat([m.flatten(1).amax(1) for m in maps]) for maps in zip(*batches, strict=True)]
        max_log_probs = [of_layer.median() for of_layer in highest]
        set_scales(self.scales, ([peak - m for peak, m in zip(max_log_probs, maps, strict=True)] for maps in batches))

    def log_prob_maps(self, features: Features) -> list[Tensor]:
        """Return :meth:`log_prob_map` of all layers, in float32 on the CPU, to be kept for many images."""
        return [self.log_prob_map(i, feature).float().cpu() for i, feature in enumerate(features)]

    @torch.no_grad()
    def calibrate(self, features: Iterable[Features]) -> None:
        """Set the constants to the maxima over images: of each layer's log-likelihood, and of the sum of the maps."""
        batches = [self.log_prob_maps(batch) for batch in features]
        layers = zip(*batches, strict=True)
        self.max_log_probs.copy_(torch.stack([torch.stack([m.amax() for m in maps]).amax() for maps in layers]))
        self.max_likelihood_sum.zero_()
        self.max_likelihood_sum.copy_(torch.stack([-self._aggregate(batch).amin() for batch in batches]).amax())

    def fit_statistics(self, features: Iterable[Features]) -> None:
        """Take the statistics by which features are whitened."""
        whiten(self.norms, features)

    def training_batches(self, features: Features) -> Iterator[list[FeatureVectors]]:
        """Yield feature vectors of all layers, or of one at a time in the published order."""
        normed = [norm(vectors_last(feature)) for norm, feature in zip(self.norms, features, strict=True)]
        vectors = [rearrange(feature, "b c h w -> b (h w) c") for feature in normed]
        if self.order == "published":
            for layer, of_layer in enumerate(vectors):
                yield from ([vectors] for vectors in shuffled(layer, of_layer, self.vectors_per_step))
            return
        count = self.training_batch_count(len(features[0]))
        positions = [draw_positions(v.shape[1], count, self.positions_a_step(len(v))) for v in vectors]
        for chosen in zip(*positions, strict=True):
            yield [pick(layer, v, p) for layer, (v, p) in enumerate(zip(vectors, chosen, strict=True))]

    def training_batch_count(self, images: int) -> int:
        """Count the steps for a batch of images."""
        if self.order == "published":
            return sum(images * size // self.vectors_per_step for size in self.sizes)
        return max(1, min(self.sizes) // self.positions_a_step(images))

    def positions_a_step(self, images: int) -> int:
        """Count the positions of each image that a step takes."""
        return min(max(1, self.vectors_per_step // images), *self.sizes)

    def require_trainable(self, images: int) -> None:
        """Refuse steps of more feature vectors than a batch of images has."""
        available = images * min(self.sizes)
        require(
            self.vectors_per_step <= available or not self.whole_steps,
            "--model.vectors_per_step",
            self.vectors_per_step,
            f"at most {available}, as many as {images} images have, or left out; larger batches of images have more",
        )

    def deployable(self) -> CFlow:
        """Return a detector of the same maps whose flows are folded."""
        codes: list[Any] = [(code.columns, code.rows) for code in self.codes] or [None] * len(self.flows)
        folded = [fold(flow, code) for flow, code in zip(self.flows, codes, strict=True)]
        return self.with_parts(flows=nn.ModuleList(folded))

    def optimizer(self) -> torch.optim.Optimizer:
        """Return Adam on the flows."""
        return adam(self.flows.parameters(), self.learning_rate)

    def learning_rate_factor(self, progress: float) -> float:
        """Return the factor of the learning rate when a share of the training is done."""
        return SCHEDULES[self.schedule](progress)


def vectors_last(feature: Tensor) -> Tensor:
    """Lay a feature map (B, C, h, w) out vector by vector, as encoders give it, so that vectors are picked at once."""
    return feature.contiguous(memory_format=torch.channels_last)


def per_channel(z: Tensor, log_det: Tensor) -> Tensor:
    """Log-likelihood, divided by the channels, of z (N, C, ...) with log-determinants (N, 1, ...)."""
    energy = 0.5 * squares(z).sum(1, keepdim=True)
    return (log_det - energy) / z.shape[1] - 0.5 * math.log(2 * math.pi)


def make_flow(channels: int, condition: int, steps: int, clamp: float, permutation: str) -> Chain:
    """Make the flow of a feature map: coupling, scaling and permutation in each step."""
    permute = {"hard": Permutation, "soft": SoftPermutation}[permutation]

    def subnet(inputs: int, outputs: int) -> DenseSubnet:
        return DenseSubnet(inputs, outputs, condition)

    return Chain(
        *(
            Chain(AffineCoupling(channels, subnet, clamp), GlobalAffine(channels), permute(channels))
            for _ in range(steps)
        )
    )
