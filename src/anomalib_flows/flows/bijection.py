"""The contract of flows: an invertible map with its log-determinant."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

Condition = Callable[[Tensor, Tensor], Tensor]
"""Adds the linear image of a condition c, :math:`(h, W) \\mapsto h + W c`, for h of (N, K) and W of (K, D).

It may change h. It is a function and not a tensor of (N, D), since conditions rarely need that much memory: positions
of a feature map are rows and columns, and N images share them.
"""


class Bijection(nn.Module, ABC):
    r"""Map x to z and back, :math:`\log p(x | c) = \log p(z) + \log |\det \partial z / \partial x|`.

    x and z are a tensor of shape (B, C, ...), or a tuple of such tensors with the same B: feature maps of several
    sizes, or channels that a flow emits early. A flow without a condition ignores the one that it is given.
    Log-determinants have shape (B,) and at least type float32, since the sum over a feature map overflows half
    precision.
    """

    @abstractmethod
    def forward(self, x: Any, condition: Condition | None = None) -> tuple[Any, Tensor]:
        """Return z and the log-determinant of x -> z."""

    @abstractmethod
    def inverse(self, z: Any, condition: Condition | None = None) -> tuple[Any, Tensor]:
        """Return x and the log-determinant of z -> x."""
