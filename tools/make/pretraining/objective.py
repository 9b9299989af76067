"""The loss: a Gaussian of the normal patches of other photographs of a texture separates damaged and normal patches.

A flow on whitened features starts from this Gaussian. The loss is that of each feature map and of their mean.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from pretraining.scenes import Photographs

COVERED = 0.08
"""Damaged share of a patch above which it counts as damaged."""
KEPT = 96
"""Limit of the patches of each kind that are compared within a texture."""
SHRINKAGE = 0.05
"""Shrinkage of correlations towards zero."""


def loss(features: list[Tensor], photographs: Photographs, generator: torch.Generator) -> Tensor:
    """Return the mean of :func:`ranking_loss` over the distances of feature maps and the mean of these distances.

    Args:
        features: Feature maps of the nP images, each of shape (nP, C, h, w).
        photographs: The images and their damage.
        generator: Source of the choice of patches.
    """
    n, size = photographs.samples, features[0].shape[-2:]
    damage = photographs.damage.to(features[0].device, torch.float32)[:, None]
    squared = [patch_distances(maps.float(), classify_patches(damage, maps.shape[-2:])[0], n) for maps in features]
    resized = [F.interpolate(part, size, mode="bilinear") for part in squared]
    together = torch.stack(resized).mean(0)
    losses = [ranking_loss(o, *classify_patches(damage, o.shape[-2:]), n, generator) for o in [*squared, together]]
    return torch.stack(losses).mean()


def classify_patches(damage: Tensor, size: torch.Size) -> tuple[Tensor, Tensor]:
    """Return normal patches, whose neighbours are normal too, and damaged ones, as masks of shape (nP, 1, h, w)."""
    covered = F.adaptive_avg_pool2d(damage, list(size))
    return F.max_pool2d(covered, 3, stride=1, padding=1) == 0, covered > COVERED


def patch_distances(maps: Tensor, normal: Tensor, samples: int) -> Tensor:
    r"""Return the distance of each patch to the normal ones of the other photographs of its texture, (nP, 1, h, w).

    .. math::
        (x - \mu)^T \Sigma^{-1} (x - \mu) / C

    with correlations shrunk towards zero by :data:`SHRINKAGE`, as in the whitening of the detectors. At least one of
    the others must have normal patches.

    Args:
        maps: Features x of shape (nP, C, h, w).
        normal: Mask of the normal ones, of shape (nP, 1, h, w).
        samples: The number n of photographs of each texture.
    """
    maps = maps - maps.detach().mean((0, 2, 3), keepdim=True)  # sums of squares are exact for centred values
    patches, weight = maps.flatten(2).transpose(1, 2), normal.flatten(2).transpose(1, 2).float()
    mean, covariance = moments(patches, weight, samples)
    spread = (covariance.diagonal(dim1=1, dim2=2) + 1e-4).sqrt()[:, None]
    correlation = (1 - SHRINKAGE) * covariance / (spread.transpose(1, 2) * spread)
    identity = torch.eye(maps.shape[1], device=maps.device)
    factor = torch.linalg.cholesky(correlation + SHRINKAGE * identity)
    white = torch.linalg.solve_triangular(factor, ((patches - mean) / spread).transpose(1, 2), upper=False)
    return white.square().mean(1).view_as(normal)


def moments(patches: Tensor, weight: Tensor, samples: int) -> tuple[Tensor, Tensor]:
    """Return mean (nP, 1, C) and covariance (nP, C, C) of the weighted patches of a texture's other photographs."""
    weighted = weight * patches
    sums = weight.sum(1, keepdim=True), weighted.sum(1, keepdim=True), weighted.transpose(1, 2) @ patches
    count, first, second = (others(part, samples) for part in sums)
    mean = first / count.clamp(min=1)
    return mean, second / count.clamp(min=1) - mean.transpose(1, 2) * mean


def others(values: Tensor, samples: int) -> Tensor:
    """Return for each photograph the sum of the values (nP, ...) of the other ones of its texture."""
    each = values.unflatten(0, (samples, -1))
    return (each.sum(0, keepdim=True) - each).flatten(0, 1)


def ranking_loss(squared: Tensor, normal: Tensor, damaged: Tensor, samples: int, generator: torch.Generator) -> Tensor:
    r"""Compare distances o of damaged patches d and normal patches s of a texture, half of these the highest ones.

    .. math::
        \log_2 (1 + (o(s) / o(d))^2)

    depends on ratios of distances only; equal distances give 1. The normal patches with the highest distances are
    those that cause a detector's false alarms.

    Args:
        squared: Squared distances, of shape (nP, 1, h, w).
        normal: Mask of the normal patches, of the same shape.
        damaged: Mask of the damaged patches, of the same shape.
        samples: The number n of photographs of each texture.
        generator: Source of the choice of patches.

    References:
        Learning to Rank using Gradient Descent (Burges et al., 2005), equation 3, for the logistic loss of pairs.
    """
    log, normal, damaged = (of_texture(part, samples) for part in ((squared + 1e-3).log(), normal, damaged))
    chance = torch.rand(log.shape, generator=generator).to(log.device)
    highest, some, bad = (
        choose(log, key.masked_fill(~mask, -torch.inf))
        for key, mask in ((log.detach(), normal), (chance, normal), (chance, damaged))
    )
    good = tuple(torch.cat(parts, 1) for parts in zip(highest, some, strict=True))
    known = good[1][:, :, None] & bad[1][:, None]
    pairs = F.softplus(2 * (good[0][:, :, None] - bad[0][:, None])) / math.log(2)
    each = torch.where(known, pairs, 0).sum((1, 2)) / known.sum((1, 2)).clamp(min=1)
    return each.sum() / known.any(2).any(1).sum().clamp(min=1)


def of_texture(values: Tensor, samples: int) -> Tensor:
    """Join the patches (nP, 1, h, w) of all photographs of a texture, to shape (P, n h w)."""
    return values.unflatten(0, (samples, -1)).transpose(0, 1).flatten(1)


def choose(values: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
    """Return the values (P, N) with the highest keys of each texture, and a mask of those with a key."""
    best, index = key.topk(min(KEPT, key.shape[1]), dim=1)
    return values.gather(1, index), best > -torch.inf
