"""Feature vectors at positions of a feature map, codes of the positions, and flows that are conditioned on them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from anomalib_flows.core.cuda import to_device
from anomalib_flows.core.errors import require
from anomalib_flows.flows import Bijection, Chain, Condition
from anomalib_flows.models.base import part_of


class FeatureVectors(NamedTuple):
    """Feature vectors of one layer to train on, at the same P positions of B images."""

    layer: int
    vectors: Tensor  # (B * P, C), in the order (B, P)
    positions: Tensor  # y W + x, (P,)

    def part(self, index: int, count: int) -> tuple[FeatureVectors, float]:
        """Return the vectors of some images, or some of the positions if there are fewer images, and their weight."""
        vectors = self.vectors.view(-1, len(self.positions), self.vectors.shape[1])
        if len(vectors) >= count:
            chosen, weight = part_of(len(vectors), index, count)
            return self._replace(vectors=vectors[chosen].flatten(0, 1)), weight
        chosen, weight = part_of(len(self.positions), index, count)
        return FeatureVectors(self.layer, vectors[:, chosen].flatten(0, 1), self.positions[chosen]), weight


def select_positions(layer: int, vectors: Tensor, positions: Tensor) -> FeatureVectors:
    """Select the feature vectors of B images, (B, S, C), at P positions."""
    return FeatureVectors(layer, vectors.index_select(1, positions).flatten(0, 1), positions)


def draw_positions(size: int, steps: int, per_step: int, device: torch.device) -> list[Tensor]:
    """Draw positions of a feature map for a number of steps, each position at most once, the same on each device."""
    drawn = torch.randperm(size)[: steps * per_step]
    return list(torch.split(to_device(drawn, device), per_step))


def shuffled_batches(layer: int, vectors: Tensor, batch_size: int) -> Iterator[FeatureVectors]:
    """Shuffle all feature vectors (B, S, C) of a layer and yield them in full batches; the rest is left out."""
    flat = vectors.flatten(0, 1)
    order = to_device(torch.randperm(len(flat)), flat.device)
    for chosen in torch.split(order, batch_size)[: len(flat) // batch_size]:
        yield FeatureVectors(layer, flat[chosen], chosen % vectors.shape[1])


class PositionalCode(nn.Module):
    r"""Sines and cosines of column x and row y at D / 4 frequencies each.

    .. math::
        c(y, x) = [\sin \omega_k x, \cos \omega_k x, \dots, \sin \omega_k y, \cos \omega_k y, \dots], \quad
        \omega_k = 10^{-4 \cdot 2k / (D / 2)}

    One half of c depends on the column alone, the other on the row alone. The product of a weight with the codes of
    all H x W positions is therefore a sum of two products, with W and with H vectors of half the length.

    Args:
        length: Length D of the code.
        height: Rows H of the feature map.
        width: Columns W of the feature map.

    References:
        CFLOW-AD (Gudovskiy et al., 2021), https://arxiv.org/abs/2107.12571, section 4, with the published
        implementation's order of the entries.
    """

    columns: Tensor
    rows: Tensor

    def __init__(self, length: int, height: int, width: int) -> None:
        super().__init__()
        require(length >= 4 and length % 4 == 0, "condition", length, "a multiple of 4, or 0 for none")
        self.register_buffer("columns", sines_and_cosines(width, length // 2), persistent=False)
        self.register_buffer("rows", sines_and_cosines(height, length // 2), persistent=False)

    def codes(self, positions: Tensor) -> Tensor:
        """Return the codes of positions y W + x, (P,) -> (P, D)."""
        width = len(self.columns)
        return torch.cat((self.columns[positions % width], self.rows[positions // width]), dim=1)

    def at(self, positions: Tensor) -> Condition:
        """Condition feature vectors of B images at the same P positions, in the order (B, P)."""
        codes = self.codes(positions)
        return lambda hidden, weight: add_to_each(hidden, F.linear(codes, weight))

    def everywhere(self) -> Condition:
        """Condition the feature vectors of B whole maps, in the order (B, H, W)."""

        def add(hidden: Tensor, weight: Tensor) -> Tensor:
            of_column, of_row = weight.chunk(2, dim=1)
            table = F.linear(self.rows, of_row)[:, None] + F.linear(self.columns, of_column)
            return add_to_each(hidden, table.flatten(0, 1))

        return add


def sines_and_cosines(count: int, length: int) -> Tensor:
    """Return alternating sines and cosines of the numbers 0 to count - 1, (count, length)."""
    frequencies = torch.exp(torch.arange(0.0, length, 2) * -(math.log(1e4) / length))
    angles = torch.arange(float(count))[:, None] * frequencies
    return torch.stack((angles.sin(), angles.cos()), dim=2).flatten(1)


def add_to_each(hidden: Tensor, table: Tensor) -> Tensor:
    """Add a table (P, K) to each image's rows of a tensor (B * P, K), in place."""
    return hidden.view(-1, *table.shape).add_(table).view_as(hidden)


class PositionFlow(Chain):
    """Apply bijections to feature vectors, conditioned on a code of their positions.

    Args:
        steps: The bijections, in the order in which they are applied.
        code: Codes of the positions; None for flows without a condition.
        max_vectors: Largest number of feature vectors that :meth:`on_map` transforms at once, at least one per image.
    """

    def __init__(self, *steps: Bijection, code: PositionalCode | None, max_vectors: int = 65536) -> None:
        super().__init__(*steps)
        self.code, self.max_vectors = code, max_vectors

    def at_positions(self, vectors: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Return z (B * P, C) and log-determinants (B * P,) of feature vectors of B images at the same P positions."""
        return self(vectors, self.code.at(positions) if self.code else None)  # type: ignore[no-any-return]

    def on_map(self, feature: Tensor) -> tuple[Tensor, Tensor]:
        """Return z (B, C, h, w) and log-determinants (B, 1, h, w) of a feature map (B, C, h, w)."""
        height, width = feature.shape[2:]
        vectors = rearrange(feature, "b c h w -> b (h w) c")
        if vectors[..., 0].numel() <= self.max_vectors:
            z, log_det = self(vectors.flatten(0, 1), self.code.everywhere() if self.code else None)
            z, log_det = z.view_as(vectors), log_det.view(len(vectors), -1)
        else:
            z, log_det = self._in_pieces(vectors)
        return rearrange(z, "b (h w) c -> b c h w", h=height), log_det.view(-1, 1, height, width)

    def _in_pieces(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Return z (B, S, C) and log-determinants (B, S) of vectors (B, S, C), some positions at a time."""
        pieces = []
        positions = torch.arange(vectors.shape[1], device=vectors.device)
        for chosen in torch.split(positions, max(1, self.max_vectors // len(vectors))):
            z, log_det = self.at_positions(vectors.index_select(1, chosen).flatten(0, 1), chosen)
            pieces.append((z.view(len(vectors), len(chosen), -1), log_det.view(len(vectors), -1)))
        z, log_det = (torch.cat(parts, dim=1) for parts in zip(*pieces, strict=True))
        return z, log_det
