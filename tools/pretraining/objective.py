"""The aim: in every texture, damaged patches lie farther from the sound ones than sound patches from each other.

This is what a nearest-neighbour detector asks of features, made smooth, and asked of each feature map by itself.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from pretraining.scenes import Pairs

SOUND, DAMAGED = 96, 24
"""Patches that are taken of each image, at most."""


def loss(features: list[Tensor], pairs: Pairs, generator: torch.Generator) -> Tensor:
    """Return the mean of :func:`ranking_loss` over feature maps.

    Args:
        features: Feature maps of the 2P images, each of shape (2P, C, h, w).
        pairs: What was encoded.
        generator: Chooses patches.
    """
    damage = pairs.damage.to(features[0].device, torch.float32)[:, None]
    losses = []
    for maps in features:
        covered = F.adaptive_avg_pool2d(damage, maps.shape[-2:])
        near = F.max_pool2d(covered, 3, stride=1, padding=1)
        patches = maps.float().flatten(2).transpose(1, 2)
        sound = choose(patches, (near == 0).flatten(1), SOUND, generator)
        damaged = choose(patches, (covered > 0.15).flatten(1), DAMAGED, generator)
        losses.append(ranking_loss(sound, damaged))
    return torch.stack(losses).mean()


Chosen = tuple[Tensor, Tensor]
"""Patches of each image, of shape (2P, n, C), and which of them there are indeed, of shape (2P, n)."""


def choose(patches: Tensor, mask: Tensor, limit: int, generator: torch.Generator) -> Chosen:
    """Choose up to ``limit`` patches of each image at random where a mask (2P, N) is True."""
    chance = torch.rand(mask.shape, generator=generator).to(mask.device) + mask.float()
    value, index = chance.topk(min(limit, mask.shape[1]), dim=1)
    return patches.gather(1, index[..., None].expand(-1, -1, patches.shape[2])), value >= 1


def ranking_loss(sound: Chosen, damaged: Chosen) -> Tensor:
    r"""Compare the oddness of each damaged patch d with that of each sound patch s of the same image.

    .. math::
        \log_2 (1 + e^{2 (\log o(s) - \log o(d))})

    so that only ratios of distances count; a loss of 1 is that of equal oddness.

    References:
        Learning to Rank using Gradient Descent (Burges et al., 2005), equation 3, for the logistic loss of pairs.
    """
    bank = tuple(torch.cat(part.chunk(2)[::-1]) for part in sound)  # of the other photograph of the texture
    spread = deviation(*bank)
    sound_oddness, damaged_oddness = (oddness(chosen[0], *bank, spread) for chosen in (sound, damaged))
    ratio = sound_oddness[:, :, None] - damaged_oddness[:, None]
    known = sound[1][:, :, None] & damaged[1][:, None] & (bank[1].sum(1) > 8)[:, None, None]
    pairs = F.softplus(2 * torch.where(known, ratio, 0)) / math.log(2)
    each = (pairs * known).sum((1, 2)) / known.sum((1, 2)).clamp(min=1)
    return each.sum() / known.any(2).any(1).sum().clamp(min=1)


def deviation(patches: Tensor, known: Tensor) -> Tensor:
    """Standard deviation of each channel in each image, (2P, 1, C), at least a tenth of that over all images."""
    weight = known[..., None].float()
    count = weight.sum(1, keepdim=True).clamp(min=1)
    mean = (patches * weight).sum(1, keepdim=True) / count
    own = (((patches - mean) ** 2) * weight).sum(1, keepdim=True) / count
    overall = patches[known].var(0)
    return (own + 0.01 * overall + 1e-6).sqrt()


def oddness(patches: Tensor, bank: Tensor, known: Tensor, spread: Tensor, softness: float = 0.1) -> Tensor:
    """Logarithm of the squared distance of patches (2P, n, C) from the nearest of a bank (2P, N, C), smoothly: (2P, n).

    Distances are in units of each channel's spread (2P, 1, C).
    """
    squared = torch.cdist(patches / spread, bank / spread).square() / patches.shape[2]
    logarithm = (squared + 1e-3).log().masked_fill(~known[:, None], torch.inf)
    return -softness * torch.logsumexp(-logarithm / softness, dim=2)
