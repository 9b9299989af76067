"""Feature vectors to train on, drawn from feature maps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor


class FeatureVectors(NamedTuple):
    """Feature vectors of one layer to train on, at the same P positions of B images."""

    layer: int
    vectors: Tensor  # (B * P, C), in the order (B, P)
    positions: Tensor  # y W + x, (P,)


def select_positions(layer: int, vectors: Tensor, positions: Tensor) -> FeatureVectors:
    """Select the feature vectors of B images, (B, S, C), at P positions."""
    positions = positions.to(vectors.device)
    return FeatureVectors(layer, vectors.index_select(1, positions).flatten(0, 1), positions)


def draw_positions(size: int, steps: int, per_step: int) -> list[Tensor]:
    """Draw positions of a feature map for a number of steps, each position at most once."""
    return list(torch.split(torch.randperm(size)[: steps * per_step], per_step))


def shuffled_batches(layer: int, vectors: Tensor, batch_size: int) -> Iterator[FeatureVectors]:
    """Shuffle all feature vectors (B, S, C) of a layer and yield them in full batches; the rest is left out."""
    flat = vectors.flatten(0, 1)
    order = torch.randperm(len(flat)).to(flat.device)
    for chosen in torch.split(order, batch_size)[: len(flat) // batch_size]:
        yield FeatureVectors(layer, flat[chosen], chosen % vectors.shape[1])
