"""The contract of every flow: an invertible map that knows its log-determinant."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn


class Bijection(nn.Module, ABC):
    r"""Map x to z and back, :math:`\log p(x) = \log p(z) + \log |\det \partial z / \partial x|`.

    Tensors have shape (B, C, ...); whatever follows the channels is treated alike. Log-determinants have shape
    (B,) and type float32 at least, since a sum over a feature map overflows the mantissa of half precision.
    """

    @abstractmethod
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return z and the log-determinant of x -> z."""

    @abstractmethod
    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return x and the log-determinant of z -> x."""
