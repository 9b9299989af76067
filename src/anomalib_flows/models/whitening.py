"""Whitened features: the flow begins where a Gaussian has done what it can."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anomalib_flows.models.base import Features

Norm = Literal["whitened", "layer", "layer-fixed", "none"]


class Whitening(nn.Module):
    r"""Subtract a mean from feature vectors and decorrelate their channels, by statistics of training features.

    .. math::
        y = R^{-1/2} D^{-1} (x - \mu), \quad R = (1 - \rho)\, D^{-1} \Sigma D^{-1} + \rho I

    with the covariance :math:`\Sigma` and the standard deviations D of the channels. The map is fixed, so the flow
    gains no likelihood by it, and has no part in the log-determinant. Before :meth:`set`, it changes nothing.

    Args:
        shape: C, h and w of the feature map.
        shrinkage: The share :math:`\rho`, from 0 (whitened) to 1 (each channel standardised by itself).
        local_mean: Whether :math:`\mu` may differ from position to position, see :func:`shrunk_means`.

    References:
        Optimal whitening and decorrelation (Kessy et al., 2018), https://arxiv.org/abs/1512.00809: ZCA-cor.

    Example:
        >>> whitening = Whitening((2, 1, 1), shrinkage=0.0, local_mean=False)
        >>> moments = Moments()
        >>> moments.add(torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 3.0], [0.0, -3.0]]).view(4, 2, 1, 1))
        >>> whitening.set(moments)
        >>> [round(value, 3) for value in whitening(torch.tensor([1.0, 3.0]).view(1, 2, 1, 1)).flatten().tolist()]
        [1.414, 1.414]
    """

    mean: Tensor
    matrix: Tensor

    def __init__(self, shape: tuple[int, int, int], shrinkage: float = 0.01, local_mean: bool = True) -> None:
        super().__init__()
        channels, height, width = shape
        self.shrinkage, self.local_mean = shrinkage, local_mean
        self.register_buffer("mean", torch.zeros(channels, *(height, width) if local_mean else (1, 1)))
        self.register_buffer("matrix", torch.eye(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Whiten feature maps (B, C, h, w), with statistics in float32 also in lower and mixed precision."""
        mixed = torch.is_autocast_enabled(x.device.type)
        with torch.autocast(x.device.type, enabled=False):
            whitened = F.conv2d(x.to(self.mean.dtype) - self.mean, self.matrix[:, :, None, None])
        return whitened if mixed else whitened.to(x.dtype)

    def set(self, moments: Moments) -> None:
        """Take the statistics of training features."""
        mean = moments.local_mean()
        centre = shrunk_means(mean, moments) if self.local_mean else mean.mean((1, 2), keepdim=True)
        matrix = zca_cor(moments.covariance(centre), self.shrinkage)
        self.mean.copy_(centre)
        self.matrix.copy_(matrix)


class Moments:
    """Sums over feature maps, from which means and covariances follow, in float64."""

    def __init__(self) -> None:
        self.count = 0
        self.first, self.second, self.origin = (torch.empty(0) for _ in range(3))

    def add(self, features: Tensor) -> None:
        """Add feature maps of shape (B, C, h, w)."""
        if not self.count:  # sums of squares about a point amid the values lose no digits to their mean
            self.origin = features.float().mean((0, 2, 3), keepdim=True)
            self.first = features.new_zeros(features.shape[1:], dtype=torch.float64)
            self.second = features.new_zeros(features.shape[1], features.shape[1], dtype=torch.float64)
        centred = features.float() - self.origin
        vectors = centred.movedim(1, 0).flatten(1)
        self.second += (vectors @ vectors.T).double()
        self.first += centred.double().sum(0)
        self.count += len(features)

    def local_mean(self) -> Tensor:
        """Mean at each position, (C, h, w)."""
        return self.first / self.count + self.origin[0].double()

    def covariance(self, centre: Tensor) -> Tensor:
        """Mean of (x - centre)(x - centre)' over images and positions; ``centre`` is (C, h, w) or (C, 1, 1)."""
        positions = self.first[0].numel()
        c = (centre - self.origin[0].double()).expand_as(self.first).flatten(1)
        m = (self.first / self.count).flatten(1)
        return self.second / (self.count * positions) - (c @ m.T + m @ c.T - c @ c.T) / positions


def shrunk_means(local: Tensor, moments: Moments) -> Tensor:
    r"""Means of each position, drawn towards the mean of all as far as their differences may be chance.

    .. math::
        \mu_p = \bar{x} + \frac{\tau^2}{\tau^2 + s^2 / n} (\bar{x}_p - \bar{x})

    for each channel, with the variance :math:`s^2` among n images at one position, and :math:`\tau^2` by which the
    means of the positions vary beyond that. A texture keeps one mean, a product in a fixed place one for each
    position.

    Args:
        local: Means of the positions, (C, h, w).
        moments: What they were computed from.

    References:
        Stein's estimation rule and its competitors: an empirical Bayes approach (Efron and Morris, 1973).
    """
    overall = local.mean((1, 2), keepdim=True)
    if moments.count < 2:
        return overall.expand_as(local).clone()
    within = moments.covariance(local).diagonal() * moments.count / (moments.count - 1)
    chance = within.clamp_min(0)[:, None, None] / moments.count
    spread = (local - overall).square().mean((1, 2), keepdim=True)
    share = ((spread - chance) / spread.clamp_min(torch.finfo(spread.dtype).tiny)).clamp(0, 1)
    return overall + share * (local - overall)


def zca_cor(covariance: Tensor, shrinkage: float) -> Tensor:
    """Whitening matrix of a covariance (C, C), near the identity up to the scales of the channels."""
    variances = covariance.diagonal()
    # A channel that never changes, such as that of a dead unit, tells something as soon as it does, but not the more
    # the less it did before.
    floor = (1e-4 * variances.mean()).clamp_min(1e-12)
    covariance = covariance + (floor - variances).clamp_min(0).diag()
    deviations = covariance.diagonal().sqrt()
    correlation = covariance / deviations[:, None] / deviations
    identity = torch.eye(len(covariance), dtype=covariance.dtype, device=covariance.device)
    values, vectors = torch.linalg.eigh((1 - shrinkage) * correlation + shrinkage * identity)
    matrix: Tensor = (vectors * values.clamp_min(1e-6).rsqrt()) @ vectors.T / deviations
    return matrix


def whiten(norms: Iterable[nn.Module], batches: Iterable[Features]) -> None:
    """Set the whitenings among the norms of feature maps from batches of training features."""
    chosen = [(i, norm) for i, norm in enumerate(norms) if isinstance(norm, Whitening)]
    if not chosen:
        return
    moments = [Moments() for _ in chosen]
    for batch in batches:
        for of_layer, (i, _) in zip(moments, chosen, strict=True):
            of_layer.add(batch[i])
    for of_layer, (_, norm) in zip(moments, chosen, strict=True):
        norm.set(of_layer)


def make_norm(shape: tuple[int, int, int], kind: Norm, shrinkage: float, local_mean: bool) -> nn.Module:
    """Make the norm of a feature map of shape (C, h, w)."""
    if kind == "whitened":
        return Whitening(shape, shrinkage, local_mean)
    return nn.Identity() if kind == "none" else nn.LayerNorm(shape, elementwise_affine=kind == "layer")
