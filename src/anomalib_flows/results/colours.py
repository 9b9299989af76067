"""The colours of scores: from dark violet (normal) over orange (the threshold) to light yellow."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

ANCHORS = ((28, 12, 92), (104, 20, 150), (206, 36, 104), (250, 112, 40), (255, 196, 60), (255, 250, 190))
LUMA = np.array([0.2126, 0.7152, 0.0722])
"""Weights of red, green and blue in the perceived brightness (ITU-R BT.709)."""


@cache
def table() -> NDArray[np.uint8]:
    """Colours for the levels 0 to 255, of shape (256, 3).

    Each anchor sits where its own brightness puts it, so brightness rises in equal steps: a picture
    printed in grey still shows the order of the scores.
    """
    anchors = np.array(ANCHORS, dtype=float)
    brightness = anchors @ LUMA
    levels = np.linspace(brightness[0], brightness[-1], 256)
    channels = [np.interp(levels, brightness, channel) for channel in anchors.T]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def to_levels(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Turn values in [0, 1] into levels from 0 to 255; values outside are clipped."""
    return (values.clip(0, 1) * 255 + 0.5).astype(np.uint8)


def colourise(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Give each value its colour.

    Args:
        values: Values in [0, 1] of shape (H, W); values outside are clipped.

    Returns:
        Red, green and blue of shape (H, W, 3).

    Example:
        >>> colourise(np.array([[0.0, 1.0]])).tolist()
        [[[28, 12, 92], [255, 250, 190]]]
    """
    return table()[to_levels(values)]
