"""How far images are changed at random: options alone, which the command line shows without importing torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from anomalib_flows.core.types import require

LARGEST = {"rotate": 180, "shift": 1, "brightness": 1, "contrast": 1, "blur": 50, "noise": 255}
"""Largest values of the options that count from 0."""


@dataclass(frozen=True, kw_only=True)
class Changes:
    """How far images are changed at random, each in its own way and its mask alike; by default not at all.

    Args:
        rotate: Largest angle in degrees, to either side.
        flip: Whether half of the images are mirrored, left to right.
        zoom: Factor of size; each image is scaled by one between this and its reciprocal (0.9: 0.9 to 1.11).
        shift: Largest shift down and across, as a share of the height and the width.
        brightness: Largest change of brightness, as a share: 0.2 means factors from 0.8 to 1.2.
        contrast: Largest change of contrast about the image's mean, as a share.
        blur: Largest standard deviation, in pixels, of a Gaussian blur.
        noise: Largest standard deviation, in grey levels from 0 to 255, of noise.
        interpolation: ``bilinear`` or ``nearest``, of what is turned, scaled or shifted.
        border: What fills the corners: ``reflection`` of the image, or ``zeros``, which is black.
    """

    rotate: float = 0.0
    flip: bool = False
    zoom: float = 1.0
    shift: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    blur: float = 0.0
    noise: float = 0.0
    interpolation: Literal["bilinear", "nearest"] = "bilinear"
    border: Literal["reflection", "zeros"] = "reflection"

    def __post_init__(self) -> None:
        """Refuse numbers of no use when they are given."""
        for name, largest in LARGEST.items():
            value = getattr(self, name)
            require(0 <= value <= largest, option(name), value, f"from 0 to {largest}")
        require(0.1 <= self.zoom <= 10, option("zoom"), self.zoom, "a factor from 0.1 to 10, where 1 leaves the size")

    @property
    def moves(self) -> bool:
        """Whether pixels come to lie elsewhere, flips apart."""
        return self.rotate != 0 or self.zoom != 1 or self.shift != 0

    @property
    def active(self) -> bool:
        """Whether anything is changed."""
        return self.moves or self.flip or any((self.brightness, self.contrast, self.blur, self.noise))


def option(name: str) -> str:
    """What a change is called on the command line, in training and in testing."""
    return f"--augment.{name} or --disturb.{name}"
