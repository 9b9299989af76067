"""Random numbers for photographs: common to a texture, or different in each photograph of it."""

from __future__ import annotations

import math

import torch
from torch import Tensor


class Brush:
    """Draw numbers for P textures with n samples each, on a canvas of S x S pixels.

    Samples i, P + i, 2 P + i, ... belong to texture i.

    Args:
        generator: Source of all randomness.
        textures: The number P.
        size: The side S.
        fixed: For each texture whether all samples show the same scene, like a product that always lies in the same
            place; of shape (P,).
        samples: The number n.
    """

    def __init__(self, generator: torch.Generator, textures: int, size: int, fixed: Tensor, samples: int) -> None:
        self.generator, self.textures, self.size, self.fixed, self.samples = generator, textures, size, fixed, samples
        line = torch.arange(float(size)) - size / 2
        self.rows, self.columns = line[:, None].expand(size, size), line.expand(size, size)

    def common(self, low: float, high: float, *shape: int) -> Tensor:
        """Draw uniform numbers that all samples of a texture share, of shape (nP, *shape)."""
        values = low + (high - low) * torch.rand(self.textures, *shape, generator=self.generator)
        return torch.cat([values] * self.samples)

    def scale(self, low: float, high: float, *shape: int) -> Tensor:
        """Draw numbers like :meth:`common`, uniform in the logarithm."""
        return self.common(math.log(low), math.log(high), *shape).exp()

    def chance(self, probability: float, *shape: int) -> Tensor:
        """Draw True with a probability, the same for all samples, of shape (nP, *shape)."""
        return self.common(0, 1, *shape) < probability

    def own(self, *shape: int) -> Tensor:
        """Draw uniform numbers in [0, 1] for each sample, of shape (nP, *shape); equal where the scene is fixed."""
        values = torch.rand(self.samples, self.textures, *shape, generator=self.generator)
        fixed = self.fixed.view(-1, *[1] * len(shape))
        return torch.where(fixed, values[:1], values).flatten(0, 1)

    def normal(self, *shape: int) -> Tensor:
        """Draw numbers like :meth:`own` from the normal distribution."""
        return torch.erfinv((2 * self.own(*shape) - 1).clamp(-0.9999, 0.9999)) * math.sqrt(2)

    def rotated(self, angle: Tensor) -> tuple[Tensor, Tensor]:
        """Return coordinates along and across a direction, each (nP, S, S); the angle has shape (nP, 1, 1)."""
        return (
            angle.cos() * self.columns + angle.sin() * self.rows,
            angle.cos() * self.rows - angle.sin() * self.columns,
        )


def spectrum_noise(white: Tensor, gain: Tensor) -> Tensor:
    """Filter white noise (N, S, S) by the gain of each frequency (N, S, S/2 + 1) to mean 0 and deviation 1."""
    field = torch.fft.irfft2(torch.fft.rfft2(white) * gain, s=white.shape[-2:])
    return (field - field.mean((1, 2), keepdim=True)) / (field.std((1, 2), keepdim=True) + 1e-6)


def frequencies(size: int) -> tuple[Tensor, Tensor]:
    """Return the frequencies down and across in cycles per pixel, for :func:`spectrum_noise`."""
    return torch.fft.fftfreq(size)[:, None], torch.fft.rfftfreq(size)


def smooth_noise(white: Tensor, width: Tensor | float) -> Tensor:
    """Smooth white noise (N, S, S) by a Gaussian of ``width`` pixels, a number or of shape (N, 1, 1)."""
    down, across = frequencies(white.shape[-1])
    return spectrum_noise(white, torch.exp(-2 * math.pi**2 * (down**2 + across**2) * width**2))
