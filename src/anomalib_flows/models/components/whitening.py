"""Whitening of features by statistics of the training images, before the flow."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anomalib_flows.models.base import Features

Norm = Literal["whitened", "layer", "layer-fixed", "none"]


class Whitening(nn.Module):
    r"""Subtract a mean from feature vectors and decorrelate their channels, by statistics of training features.

    .. math::
        y = \Lambda^{-1/2} V^\top D^{-1} (x - \mu), \quad
        V \Lambda V^\top = (1 - \rho)\, D^{-1} \Sigma D^{-1} + \rho I

    with the covariance :math:`\Sigma` and the standard deviations D of the channels. The first channel of y is the
    principal component of the largest variance. The first K are kept. The map is fixed and therefore not part of the
    log-determinant. Before :meth:`set` it keeps the first channels as they are.

    Args:
        shape: C, h and w of the feature map.
        shrinkage: The share :math:`\rho`, from 0 (whitened) to 1 (each channel standardised by itself), or more where
            there are few vectors, see :func:`oracle_shrinkage`.
        local_mean: Whether :math:`\mu` may differ from position to position, see :func:`shrunk_means`.
        components: The number K; by default C.

    References:
        Optimal whitening and decorrelation (Kessy et al., 2018), https://arxiv.org/abs/1512.00809: PCA-cor.

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

    def __init__(
        self,
        shape: tuple[int, int, int],
        shrinkage: float = 0.01,
        local_mean: bool = True,
        components: int | None = None,
    ) -> None:
        super().__init__()
        channels, height, width = shape
        self.shrinkage, self.local_mean = shrinkage, local_mean
        self.register_buffer("mean", torch.zeros(channels, *(height, width) if local_mean else (1, 1)))
        self.register_buffer("matrix", torch.eye(components or channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        """Whiten feature maps, (B, C, h, w) -> (B, K, h, w), in float32 even in lower and mixed precision."""
        mixed = torch.is_autocast_enabled(x.device.type)
        with torch.autocast(x.device.type, enabled=False):
            whitened = F.conv2d(x.to(self.mean.dtype) - self.mean, self.matrix[:, :, None, None])
        return whitened if mixed else whitened.to(x.dtype)

    def set(self, moments: Moments) -> None:
        """Set mean and matrix from the moments of training features."""
        mean = moments.local_mean()
        centre = shrunk_means(mean, moments) if self.local_mean else mean.mean((1, 2), keepdim=True)
        matrix = pca_cor(moments.covariance(centre), self.shrinkage, moments.vectors)
        self.mean.copy_(centre)
        self.matrix.copy_(matrix[: len(self.matrix)])


class Moments:
    """Sums over feature maps that give means and covariances; products in float32, sums in float64."""

    def __init__(self) -> None:
        self.count = 0
        self.origin, self.first, self.second, self.levels = (torch.empty(0) for _ in range(4))

    def add(self, features: Tensor) -> None:
        """Add feature maps of shape (B, C, h, w)."""
        if not self.count:  # centred values keep the digits that a large mean would take
            self.origin = features.float().mean(0)
            self.first = torch.zeros_like(self.origin, dtype=torch.float64)
            self.second = self.first.new_zeros(len(self.origin), len(self.origin))
            self.levels = self.first.new_zeros(len(self.origin))
        centred = features.float() - self.origin
        vectors = centred.movedim(1, 0).flatten(1)
        self.second += (vectors @ vectors.T).double()
        self.first += centred.double().sum(0)
        self.levels += centred.double().mean((2, 3)).square().sum(0)
        self.count += len(features)

    @property
    def vectors(self) -> int:
        """Number of feature vectors that were added."""
        return self.count * self.first[0].numel()

    def local_mean(self) -> Tensor:
        """Return the mean at each position, (C, h, w)."""
        return self.first / self.count + self.origin.double()

    def covariance(self, centre: Tensor) -> Tensor:
        """Return the mean of (x - centre)(x - centre)' over all vectors, for a centre (C, h, w) or (C, 1, 1)."""
        c = (centre - self.origin.double()).flatten(1)
        m = (self.first / self.count).flatten(1)
        return self.second / self.vectors - (c @ m.T + m @ c.T - c @ c.T) / c.shape[1]

    def level_variance(self) -> Tensor:
        """Return the variance of the images' means for each channel, (C,)."""
        return self.levels / self.count - (self.first / self.count).mean((1, 2)).square()


def shrunk_means(local: Tensor, moments: Moments) -> Tensor:
    r"""Shrink the means (C, h, w) of the positions towards the mean of all, as far as their differences may be chance.

    .. math::
        \mu_p = \bar{x} + \frac{\tau^2}{\tau^2 + s^2 / n} (\bar{x}_p - \bar{x})

    for each channel. :math:`s^2` is the variance among n images at one position without the variance of whole images,
    :math:`\tau^2` the variance among the positions' means that this does not explain. A texture keeps one mean; a
    product in a fixed place keeps one for each position.

    References:
        Stein's estimation rule and its competitors: an empirical Bayes approach (Efron and Morris, 1973).
    """
    overall = local.mean((1, 2), keepdim=True)
    if moments.count < 2:
        return overall.expand_as(local).clone()
    # A darker image is darker everywhere, which does not make positions differ.
    within = (moments.covariance(local).diagonal() - moments.level_variance()) * moments.count / (moments.count - 1)
    chance = within.clamp_min(0)[:, None, None] / moments.count
    spread = (local - overall).square().mean((1, 2), keepdim=True)
    share = ((spread - chance) / spread.clamp_min(torch.finfo(spread.dtype).tiny)).clamp(0, 1)
    return overall + share * (local - overall)


def pca_cor(covariance: Tensor, shrinkage: float, vectors: int) -> Tensor:
    """Return the PCA-cor whitening matrix of a covariance (C, C), the largest variance first.

    Eigenvectors of equal eigenvalues are arbitrary.
    """
    variances = covariance.diagonal()
    # A floor for channels that never change, such as those of dead units: a change of one counts, but not infinitely.
    floor = (1e-4 * variances.mean()).clamp_min(1e-12)
    covariance = covariance + (floor - variances).clamp_min(0).diag()
    deviations = covariance.diagonal().sqrt()
    correlation = covariance / deviations[:, None] / deviations
    identity = torch.eye(len(covariance), dtype=covariance.dtype, device=covariance.device)
    share = max(shrinkage, oracle_shrinkage(correlation, vectors))
    values, axes = torch.linalg.eigh((1 - share) * correlation + share * identity)
    order = values.argsort(descending=True, stable=True)  # full shrinkage leaves the channels where they are
    components = (axes * signs(axes) * values.clamp_min(1e-6).rsqrt())[:, order]
    matrix: Tensor = components.T / deviations
    return matrix


def signs(axes: Tensor) -> Tensor:
    """Return the signs, (1, C), that make the first of the largest entries of each column of (C, C) positive."""
    sizes = axes.abs()
    largest = (sizes >= (1 - 1e-6) * sizes.amax(0)).double().argmax(0, keepdim=True)
    return axes.gather(0, largest).sign()


def oracle_shrinkage(covariance: Tensor, vectors: int) -> float:
    r"""Return the share :math:`\rho` by which to shrink a covariance (C, C) of few vectors towards the identity.

    References:
        Shrinkage algorithms for MMSE covariance estimation (Chen et al., 2010), eq. 23, the OAS estimator as in
        scikit-learn, with a mean variance of 1 as correlations have.
    """
    power, variance = float(covariance.square().mean()), float(covariance.diagonal().mean())
    surplus = power - variance**2 / len(covariance)
    return min(1.0, (power + variance**2) / max((vectors + 1) * surplus, 1e-12))


def fit_whitening(norms: Iterable[nn.Module], batches: Iterable[Features]) -> None:
    """Set the whitenings among the norms of feature maps from batches of training features."""
    moments = {i: (norm, Moments()) for i, norm in enumerate(norms) if isinstance(norm, Whitening)}
    for batch in batches if moments else ():
        for i, (_, of_layer) in moments.items():
            of_layer.add(batch[i])
    for norm, of_layer in moments.values():
        norm.set(of_layer)


def make_norm(
    shape: tuple[int, int, int], kind: Norm, shrinkage: float, local_mean: bool, components: int
) -> nn.Module:
    """Make the norm of a feature map of shape (C, h, w)."""
    makers: dict[str, Callable[[], nn.Module]] = {
        "whitened": lambda: Whitening(shape, shrinkage, local_mean, components),
        "layer": lambda: nn.LayerNorm(shape),
        "layer-fixed": lambda: nn.LayerNorm(shape, elementwise_affine=False),
        "none": nn.Identity,
    }
    return makers[kind]()
