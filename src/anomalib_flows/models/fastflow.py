"""FastFlow: a 2-D normalizing flow on each feature map of a frozen encoder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import cycle, islice
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from anomalib_flows.core.errors import require
from anomalib_flows.core.limits import require_at_most, require_size
from anomalib_flows.core.types import ImageSize
from anomalib_flows.encoders import DEFAULT_BACKBONE
from anomalib_flows.flows import AffineCoupling, Chain, GlobalAffine, Permutation, Subnet
from anomalib_flows.models.base import Features, squares
from anomalib_flows.models.flow_detector import FlowDetector, limited_flows

LARGEST_ENERGY = 1e4
"""Upper limit of energies in the logarithm. It keeps the map finite, also in float16."""


class FastFlow(FlowDetector):
    r"""Learn the density of feature maps with flows made of small convolutions.

    Each feature map x of C x h x w is whitened to K x h x w and goes through a flow to z. Training minimises

    .. math::
        L = \sum_{maps} \tfrac{1}{2} \lVert z \rVert^2 - \log |\det \partial z / \partial x|

    An anomaly map is a weighted mean over the feature maps, upsampled:

    .. math::
        S = \frac{\sum_s w_s \, a(e_s)}{\sum_s w_s}, \quad a(e) = -\exp(-e) + \tau \log(1 + e), \quad
        e = \frac{f}{2K} \sum_k z_k^2

    with a factor f for each position, see :class:`~anomalib_flows.models.components.local_scale.LocalScale`. The map
    that is shown has weights of 1 and no logarithm. The map that scores the image has both. Where e is large, the
    exponential is nearly 0 and cannot rank images. The logarithm can.

    Args:
        steps: Flow steps for each feature map.
        hidden_ratio: Hidden channels of a coupling's network, as a multiple of half of the encoder's channels.
        kernel_sizes: Kernel sizes of the convolutions, for one step after the other: ``[3]`` or ``[3, 1]``.
        clamp: Bound of a coupling's log-scale.
        tail: Weight tau of the logarithm in the map that scores the image; 0 as published.
        coarse_weight: Weight of the last feature map, the coarsest, in the map that scores the image; the others have
            1. With 1, as published, there is one map: it has the logarithm, is shown, and scores the image.
        components: Principal components that whitening keeps of each feature map, at most; ``null`` keeps all.
        options: Arguments of :class:`~anomalib_flows.models.flow_detector.FlowDetector`.

    References:
        FastFlow: Unsupervised Anomaly Detection and Localization via 2D Normalizing Flows (Yu et al., 2021),
        https://arxiv.org/abs/2111.07677, section 3 and table 6. Where the paper is silent (layer norm, scaling of
        the couplings, exponential map) this follows https://github.com/gathierry/FastFlow.

    Example:
        >>> model = FastFlow((64, 64), weights="random", steps=2)
        >>> features = model.encode(torch.zeros(2, 3, 64, 64))
        >>> model.loss(features).shape, model.anomaly_map(features).shape
        (torch.Size([]), torch.Size([2, 2, 64, 64]))
    """

    static_loss = True
    largest_batch = 16
    map_weights: Tensor
    published: ClassVar[dict[str, Any]] = {
        "backbone": "resnet18",
        "strides": [4, 8, 16],
        "norm": "layer",
        "steps": 8,
        "clamp": 2.0,
        "local_scale": 0.0,
        "tail": 0.0,
        "coarse_weight": 1.0,
        "components": None,
        "learning_rate": 1e-3,
        "schedule": "constant",
    }

    earlier: ClassVar[dict[str, Any]] = {"tail": 0.0, "coarse_weight": 1.0, "components": None}

    def __init__(
        self,
        image_size: ImageSize,
        backbone: str = DEFAULT_BACKBONE,
        *,
        steps: int = 4,
        hidden_ratio: float = 1.0,
        kernel_sizes: Sequence[int] = (3,),
        clamp: float = 1.0,
        tail: float = 0.05,
        coarse_weight: float = 1.5,
        components: int | None = 160,
        **options: Any,
    ) -> None:
        require_size("steps", steps, 1)
        odd = bool(kernel_sizes) and all(k > 0 and k % 2 for k in kernel_sizes)
        require(odd, "kernel_sizes", kernel_sizes, "odd")
        require_at_most("kernel_sizes", max(kernel_sizes))
        require(hidden_ratio > 0, "hidden_ratio", hidden_ratio, "above 0")
        require_at_most("hidden_ratio", hidden_ratio)
        require(clamp > 0, "clamp", clamp, "above 0")
        require_at_most("clamp", clamp)
        require(0 <= tail <= 1, "tail", tail, "from 0 to 1")
        require(1 <= coarse_weight <= 10, "coarse_weight", coarse_weight, "from 1 to 10")
        super().__init__(image_size, backbone, components=components, **options)
        self.tail, self.flows = tail, nn.ModuleList()
        self.register_buffer("map_weights", weights_of_maps(len(self.shapes), coarse_weight), persistent=False)
        kernels = list(islice(cycle(kernel_sizes), steps))
        with limited_flows("fewer `components` or `steps`, a smaller `hidden_ratio` or smaller `kernel_sizes`"):
            for (channels, *_), (kept, *_) in zip(self.encoder.shapes, self.shapes, strict=True):
                half = channels - channels // 2  # of all: with few components the networks stay as wide
                subnets = [conv_subnet(kernel, hidden_ratio, half) for kernel in kernels]
                self.flows.append(conv_flow(kept, subnets, clamp))

    def transform(self, features: Features) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield z and the log-determinant of each feature map, of shapes (B, K, h, w) and (B,)."""
        for norm, flow, feature in zip(self.norms, self.flows, features, strict=True):
            # On CPUs encoders run faster channels last, the flows' gathers channels first.
            yield flow(norm(feature.contiguous()))

    def loss(self, batch: Features) -> Tensor:
        """Return the negative log-likelihood, up to a constant, of feature maps; mean over B, sum over maps."""
        losses = [(0.5 * squares(z).flatten(1).sum(1) - log_det).mean() for z, log_det in self.transform(batch)]
        return torch.stack(losses).sum()

    def energies(self, features: Features) -> list[Tensor]:
        """Return half the mean square of each z over the channels, (B, 1, h, w)."""
        return [0.5 * squares(z).mean(1, keepdim=True) for z, _ in self.transform(features)]

    def anomaly_map(self, features: Features) -> Tensor:
        """Return the map that is shown, at least -1, and the one that scores the image, (B, 2, H, W).

        It is one map of shape (B, 1, H, W) if ``coarse_weight`` is 1. Higher is more anomalous.
        """
        energies = self.scaled(self.energies(features))
        maps = (weights * self.anomaly(energy) for weights, energy in zip(self.map_weights, energies, strict=True))
        return self.upsampled(maps).mean(0)

    def anomaly(self, energy: Tensor) -> Tensor:
        """Return what scaled energies (B, 1, h, w) add to each of the maps, (B, 2, h, w) or (B, 1, h, w)."""
        shown = -torch.exp(-energy)
        scoring = shown + self.tail * torch.log1p(energy.clamp(max=LARGEST_ENERGY)) if self.tail else shown
        return scoring if self.map_weights.shape[1] == 1 else torch.cat((shown, scoring), dim=1)


def weights_of_maps(count: int, coarse_weight: float) -> Tensor:
    """Return the weights of feature maps in the shown map and in the scoring one, (count, 2, 1, 1), mean 1.

    If both are one map, the shape is (count, 1, 1, 1).
    """
    weights = torch.ones(count, 1 if coarse_weight == 1 else 2, 1, 1)
    weights[-1, -1] = coarse_weight
    return weights / weights.mean(0)


def conv_flow(channels: int, subnets: Sequence[Subnet], clamp: float) -> Chain:
    """Return the flow of a feature map: a coupling, a scaling and a permutation for each network."""
    return Chain(
        *(Chain(AffineCoupling(channels, s, clamp), GlobalAffine(channels), Permutation(channels)) for s in subnets)
    )


def conv_subnet(kernel_size: int, hidden_ratio: float, width: int | None = None) -> Subnet:
    """Return a maker of two convolutions with a ReLU between them, which keep height and width.

    ``hidden_ratio`` is a multiple of ``width``, or of the input channels.
    """

    def make(inputs: int, outputs: int) -> nn.Module:
        hidden = max(1, int((width or inputs) * hidden_ratio))
        return nn.Sequential(
            nn.Conv2d(inputs, hidden, kernel_size, padding="same"),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, outputs, kernel_size, padding="same"),
        )

    return make
