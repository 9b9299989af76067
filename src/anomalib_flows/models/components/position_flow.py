"""A flow of single feature vectors, given their positions in the feature map."""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor

from anomalib_flows.flows import Bijection, Chain
from anomalib_flows.models.components.positions import PositionalCode


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
