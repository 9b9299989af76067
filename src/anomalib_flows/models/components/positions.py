"""Codes of the positions in a feature map, on which CFLOW's flows are conditioned."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anomalib_flows.core.errors import require
from anomalib_flows.flows import Condition


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
