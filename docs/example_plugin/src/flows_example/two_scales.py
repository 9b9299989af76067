"""A flow over two scales at once: a flow on each feature map, and a fusion step that lets the maps see each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anomalib_flows.core.errors import require
from anomalib_flows.core.types import ImageSize
from anomalib_flows.flows import Bijection, Chain, Condition, Parallel
from anomalib_flows.models.base import Features, squares
from anomalib_flows.models.fastflow import conv_flow, conv_subnet
from anomalib_flows.models.flow_detector import FlowDetector

Pair = tuple[Tensor, Tensor]


class Fusion(Bijection):
    r"""Scale and shift the fine map by a network of the coarse map, then shift the coarse map by one of the fine map.

    .. math::
        z_1 = x_1 \odot \exp(\tanh(a_s(x_2))) + a_t(x_2), \quad z_2 = x_2 + b(z_1)

    Args:
        fine: Channels of the fine map :math:`x_1`.
        coarse: Channels of the coarse map :math:`x_2`.
    """

    def __init__(self, fine: int, coarse: int) -> None:
        super().__init__()
        self.to_fine = nn.Conv2d(coarse, 2 * fine, 3, padding=1)
        self.to_coarse = nn.Conv2d(fine, coarse, 3, padding=1)
        for layer in (self.to_fine, self.to_coarse):  # a new step is the identity
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def scale_and_shift(self, fine: Tensor, coarse: Tensor) -> Pair:
        """Return log-scale and shift of the fine map."""
        a_s, a_t = F.interpolate(self.to_fine(coarse), fine.shape[2:], mode="nearest").chunk(2, dim=1)
        return torch.tanh(a_s), a_t

    def shift(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """Return the shift of the coarse map."""
        shift: Tensor = self.to_coarse(F.interpolate(fine, coarse.shape[2:], mode="nearest"))
        return shift

    def forward(self, x: Pair, condition: Condition | None = None) -> tuple[Pair, Tensor]:
        """Return both maps and the log-determinant, the sum of the log-scales."""
        s, t = self.scale_and_shift(*x)
        fine = x[0] * s.exp() + t
        return (fine, x[1] + self.shift(fine, x[1])), s.flatten(1).sum(1)

    def inverse(self, z: Pair, condition: Condition | None = None) -> tuple[Pair, Tensor]:
        """Return both maps and the log-determinant of z -> x."""
        coarse = z[1] - self.shift(*z)
        s, t = self.scale_and_shift(z[0], coarse)
        return ((z[0] - t) * (-s).exp(), coarse), -s.flatten(1).sum(1)


class TwoScales(FlowDetector):
    r"""Learn the joint density of two feature maps.

    Training maximises the likelihood of both maps. The map that is shown is the mean of :math:`-\exp(-e)` over the two
    scales, with half the mean square of z over the channels as energy e. The map that scores the image is the larger
    of the two values at each pixel, so that a defect counts in full if one scale alone sees it.

    Args:
        steps: Flow steps before and after the fusion.
        options: Arguments of :class:`~anomalib_flows.models.flow_detector.FlowDetector`.
    """

    def __init__(
        self,
        image_size: ImageSize,
        backbone: str = "tf_efficientnet_lite0",
        *,
        steps: int = 2,
        strides: Sequence[int] = (8, 16),
        **options: Any,
    ) -> None:
        require(steps >= 1, "steps", steps, "at least 1")
        super().__init__(image_size, backbone, strides=strides, **options)
        channels = [shape[0] for shape in self.shapes]
        require(len(channels) == 2, "layers", options.get("layers"), f"two of {backbone}'s feature maps")

        def both() -> Parallel:
            return Parallel(*(conv_flow(C, [conv_subnet(3, 1.0)] * steps, clamp=0.5) for C in channels))

        self.flows = nn.ModuleList([Chain(both(), Fusion(*channels), both())])

    def transform(self, features: Features) -> tuple[Pair, Tensor]:
        """Return z of both feature maps, and the log-determinant (B,)."""
        normed = tuple(norm(feature.contiguous()) for norm, feature in zip(self.norms, features, strict=True))
        result: tuple[Pair, Tensor] = self.flows[0](normed)
        return result

    def loss(self, batch: Features) -> Tensor:
        """Return the negative log-likelihood of both maps, up to a constant; mean over B."""
        z, log_det = self.transform(batch)
        energies = [0.5 * squares(part).flatten(1).sum(1) for part in z]
        return (torch.stack(energies).sum(0) - log_det).mean()

    def energies(self, features: Features) -> list[Tensor]:
        """Return half the mean square of each z over the channels, (B, 1, h, w)."""
        return [0.5 * squares(part).mean(1, keepdim=True) for part in self.transform(features)[0]]

    def anomaly_map(self, features: Features) -> Tensor:
        """Return the map that is shown and the one that scores the image, (B, 2, H, W), both in [-1, 0]."""
        likelihoods = self.likelihoods(self.energies(features))
        return -torch.cat((likelihoods.mean(0), likelihoods.amin(0)), dim=1)
