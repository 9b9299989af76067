"""The colours of scores, the same in every picture: 0 is dark violet, the threshold 0.5 red, 1 light yellow."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

LIGHTNESS = (0.25, 0.97)
HUES = (300, 350, 390, 430, 465)
CHROMAS = (0.11, 0.17, 0.19, 0.155, 0.05)
"""In OKLab, at equal distances from score 0 to 1: lightness at both ends, hues in degrees, chromas."""
TO_CONES = np.array(
    [
        [1, 0.3963377774, 0.2158037573],
        [1, -0.1055613458, -0.0638541728],
        [1, -0.0894841775, -1.2914855480],
    ]
)
TO_RGB = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


@cache
def table() -> NDArray[np.uint8]:
    """Return the colours of the levels 0 to 255, of shape (256, 3).

    Lightness rises in equal steps, and neighbours differ by about the same throughout, so that equal differences of
    scores look equal. A picture printed in grey still shows their order.

    References:
        A perceptual color space for image processing (Ottosson, 2020), https://bottosson.github.io/posts/oklab.
    """
    levels, knots = np.linspace(0, 1, 256), np.linspace(0, 1, len(HUES))
    hue, chroma = (np.polyval(np.polyfit(knots, values, len(knots) - 1), levels) for values in (HUES, CHROMAS))
    angle = np.radians(hue)
    lightness = LIGHTNESS[0] + (LIGHTNESS[1] - LIGHTNESS[0]) * levels
    lab = np.stack([lightness, chroma * np.cos(angle), chroma * np.sin(angle)], axis=-1)
    linear = (lab @ TO_CONES.T) ** 3 @ TO_RGB.T
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear.clip(0.001) ** (1 / 2.4) - 0.055)  # sRGB
    colours: NDArray[np.uint8] = (encoded * 255).round().astype(np.uint8)
    return colours
