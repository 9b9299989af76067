"""The contract of every flow: an invertible map that knows its log-determinant."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from torch import Tensor, nn

Condition = Callable[[Tensor, Tensor], Tensor]
"""Adds the linear image of a condition c, :math:`(h, W) \\mapsto h + W c`, for h of (N, K) and W of (K, D).

It may change h. A function and no tensor of (N, D), since few conditions need to be written out: positions of a
feature map are rows and columns, and N images share them.
"""


class Bijection(nn.Module, ABC):
    r"""Map x to z and back, :math:`\log p(x | c) = \log p(z) + \log |\det \partial z / \partial x|`.

    A flow without a condition c ignores the one that it is given. Tensors have shape
    (B, C, ...); whatever follows the channels is treated alike. Log-determinants have shape (B,) and type float32
    at least, since a sum over a feature map overflows the mantissa of half precision.
    """

    @abstractmethod
    def forward(self, x: Tensor, condition: Condition | None = None) -> tuple[Tensor, Tensor]:
        """Return z and the log-determinant of x -> z."""

    @abstractmethod
    def inverse(self, z: Tensor, condition: Condition | None = None) -> tuple[Tensor, Tensor]:
        """Return x and the log-determinant of z -> x."""
