"""The aim: a Gaussian of the sound patches in other photographs of a texture tells the damaged patches from the sound.

This is what a flow on whitened features begins with, asked of each feature map by itself and of all together.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from pretraining.scenes import Photographs

COVERED = 0.08
"""Share of a patch from which on it counts as damaged."""
KEPT = 96
"""Most patches of a texture that are compared, of each kind."""
SHRINKAGE = 0.05
"""How far correlations are drawn towards zero."""


def loss(features: list[Tensor], photographs: Photographs, generator: torch.Generator) -> Tensor:
    """Return the mean of :func:`ranking_loss` over feature maps and their mean oddness.

    Args:
        features: Feature maps of the nP images, each of shape (nP, C, h, w).
        photographs: What was encoded.
        generator: Chooses patches.
    """
    n, size = photographs.samples, features[0].shape[-2:]
    damage = photographs.damage.to(features[0].device, torch.float32)[:, None]
    squared = [oddness(maps.float(), judged(damage, maps.shape[-2:])[0], n) for maps in features]
    resized = [F.interpolate(part, size, mode="bilinear") for part in squared]
    together = torch.stack(resized).mean(0)
    losses = [ranking_loss(o, *judged(damage, o.shape[-2:]), n, generator) for o in [*squared, together]]
    return torch.stack(losses).mean()


def judged(damage: Tensor, size: torch.Size) -> tuple[Tensor, Tensor]:
    """Say which patches are sound, as are their neighbours, and which are damaged, each of shape (nP, 1, h, w)."""
    covered = F.adaptive_avg_pool2d(damage, list(size))
    return F.max_pool2d(covered, 3, stride=1, padding=1) == 0, covered > COVERED


def oddness(maps: Tensor, sound: Tensor, samples: int) -> Tensor:
    r"""Return how far each patch lies from the sound ones of the other photographs of its texture, (nP, 1, h, w).

    .. math::
        (x - \mu)^T \Sigma^{-1} (x - \mu) / C

    with correlations drawn towards zero by :data:`SHRINKAGE`, as in the whitening of the detectors. At least one of the
    others must have sound patches.

    Args:
        maps: Features x of shape (nP, C, h, w).
        sound: Which of them are sound, of shape (nP, 1, h, w).
        samples: The number n of photographs of each texture.
    """
    maps = maps - maps.detach().mean((0, 2, 3), keepdim=True)  # sums of squares about points amid the values are exact
    patches, weight = maps.flatten(2).transpose(1, 2), sound.flatten(2).transpose(1, 2).float()
    mean, covariance = moments(patches, weight, samples)
    spread = (covariance.diagonal(dim1=1, dim2=2) + 1e-4).sqrt()[:, None]
    correlation = (1 - SHRINKAGE) * covariance / (spread.transpose(1, 2) * spread)
    identity = torch.eye(maps.shape[1], device=maps.device)
    factor = torch.linalg.cholesky(correlation + SHRINKAGE * identity)
    white = torch.linalg.solve_triangular(factor, ((patches - mean) / spread).transpose(1, 2), upper=False)
    return white.square().mean(1).view_as(sound)


def moments(patches: Tensor, weight: Tensor, samples: int) -> tuple[Tensor, Tensor]:
    """Mean (nP, 1, C) and covariance (nP, C, C) of the weighted patches of a texture's other photographs."""
    weighted = weight * patches
    sums = weight.sum(1, keepdim=True), weighted.sum(1, keepdim=True), weighted.transpose(1, 2) @ patches
    count, first, second = (others(part, samples) for part in sums)
    mean = first / count.clamp(min=1)
    return mean, second / count.clamp(min=1) - mean.transpose(1, 2) * mean


def others(values: Tensor, samples: int) -> Tensor:
    """Sum values (nP, ...) of a texture over all photographs but one's own."""
    each = values.unflatten(0, (samples, -1))
    return (each.sum(0, keepdim=True) - each).flatten(0, 1)


def ranking_loss(squared: Tensor, sound: Tensor, damaged: Tensor, samples: int, generator: torch.Generator) -> Tensor:
    r"""Compare damaged patches d with sound patches s of the same texture, half of these the oddest, by distances o.

    .. math::
        \log_2 (1 + (o(s) / o(d))^2)

    so that only ratios of distances count; a loss of 1 is that of equal oddness. The oddest sound patches are what
    a detector's false alarms are made of.

    Args:
        squared: Distances o, of shape (nP, 1, h, w).
        sound: Which patches are sound, likewise.
        damaged: Which are damaged, likewise.
        samples: The number n.
        generator: Chooses patches.

    References:
        Learning to Rank using Gradient Descent (Burges et al., 2005), equation 3, for the logistic loss of pairs.
    """
    log, sound, damaged = (of_texture(part, samples) for part in ((squared + 1e-3).log(), sound, damaged))
    chance = torch.rand(log.shape, generator=generator).to(log.device)
    odd, some, bad = (
        choose(log, key.masked_fill(~mask, -torch.inf))
        for key, mask in ((log.detach(), sound), (chance, sound), (chance, damaged))
    )
    good = tuple(torch.cat(parts, 1) for parts in zip(odd, some, strict=True))
    known = good[1][:, :, None] & bad[1][:, None]
    pairs = F.softplus(2 * (good[0][:, :, None] - bad[0][:, None])) / math.log(2)
    each = torch.where(known, pairs, 0).sum((1, 2)) / known.sum((1, 2)).clamp(min=1)
    return each.sum() / known.any(2).any(1).sum().clamp(min=1)


def of_texture(values: Tensor, samples: int) -> Tensor:
    """Put the patches (nP, 1, h, w) of all photographs of a texture side by side, of shape (P, n h w)."""
    return values.unflatten(0, (samples, -1)).transpose(0, 1).flatten(1)


def choose(values: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
    """Take the values (P, N) with the highest keys of each texture, and say which of them there are indeed."""
    best, index = key.topk(min(KEPT, key.shape[1]), dim=1)
    return values.gather(1, index), best > -torch.inf
