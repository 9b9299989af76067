"""A factor for each position that makes usual energies alike."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

LARGE = 1e6
"""Finite value that replaces infinite energies."""


class LocalScale(nn.Module):
    r"""Multiply energies, negative log-likelihoods from 0 on, by a factor for each position.

    .. math::
        f_p = \Bigl( \frac{\bar{e}}{\hat{e}_p} \Bigr)^\gamma, \quad \hat{e}_p = \frac{n \bar{e}_p + m \bar{e}}{n + m}

    with the mean energy :math:`\bar{e}_p` of n normal images at position p, and :math:`\bar{e}` of all positions. Some
    positions have high energies in every image: borders, where convolutions see padding, and places that vary among
    good products. Without the factor they would decide the image score. Before :meth:`set`, all factors are 1.

    Args:
        shape: Height and width of the map.
        strength: The exponent :math:`\gamma`: 0 for none, 1 makes the mean energy the same everywhere.

    Example:
        >>> scale = LocalScale((1, 2), strength=1.0)
        >>> scale.set([torch.tensor([1.0, 3.0]).expand(1000, 1, 1, 2)])
        >>> [round(value, 2) for value in scale(torch.ones(1, 1, 1, 2)).flatten().tolist()]
        [1.98, 0.67]
    """

    PRIOR = 8
    """Number m of images that the mean of all positions counts as: few images say little about one position."""

    factor: Tensor

    def __init__(self, shape: tuple[int, int], strength: float) -> None:
        super().__init__()
        self.strength = strength
        self.register_buffer("factor", torch.ones(shape))

    def forward(self, energies: Tensor) -> Tensor:
        """Scale energies of shape (B, 1, h, w)."""
        return energies * self.factor.to(energies.device)

    def set(self, batches: Iterable[Tensor]) -> None:
        """Set the factors from energies of normal images, batches of (B, 1, h, w)."""
        sums = [(len(energies), energies.double().nan_to_num(posinf=LARGE).sum((0, 1))) for energies in batches]
        count = sum(number for number, _ in sums)
        local = torch.stack([total for _, total in sums]).sum(0) / count
        overall = local.mean()
        usual = (count * local + self.PRIOR * overall) / (count + self.PRIOR)
        self.factor.copy_((overall / usual) ** self.strength if overall > 0 else torch.ones_like(usual))


def fit_local_scales(scales: Iterable[Any], batches: Iterable[list[Tensor]]) -> None:
    """Set the scales of all feature maps from energies of normal images; compute nothing if all strengths are 0."""
    if any(scale.strength for scale in scales):
        for scale, energies in zip(scales, zip(*batches, strict=True), strict=True):
            scale.set(energies)
