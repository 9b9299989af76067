"""Feature vectors to train on, drawn from feature maps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor


class FeatureVectors(NamedTuple):
    """Feature vectors of one layer to train on, at the same positions of B images.

    Args:
        layer: Number of the feature map.
        vectors: Feature vectors of shape (B * P, C), in the order (B, P).
        positions: Where they are, y W + x, of shape (P,).
    """

    layer: int
    vectors: Tensor
    positions: Tensor


def pick(layer: int, vectors: Tensor, positions: Tensor) -> FeatureVectors:
    """Take the feature vectors of B images, (B, S, C), at P positions."""
    positions = positions.to(vectors.device)
    return FeatureVectors(layer, vectors.index_select(1, positions).flatten(0, 1), positions)


def draw_positions(size: int, count: int, each: int) -> list[Tensor]:
    """Draw different positions of a feature map for so many steps, ``each`` for each."""
    return list(torch.split(torch.randperm(size)[: count * each], each))


def shuffled(layer: int, vectors: Tensor, batch: int) -> Iterator[FeatureVectors]:
    """Shuffle all feature vectors (B, S, C) of a layer and cut them into batches; the rest is left out."""
    flat = vectors.flatten(0, 1)
    order = torch.randperm(len(flat)).to(flat.device)
    for chosen in torch.split(order, batch)[: len(flat) // batch]:
        yield FeatureVectors(layer, flat[chosen], chosen % vectors.shape[1])
