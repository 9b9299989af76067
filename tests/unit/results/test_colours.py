"""Equal differences of scores look equal, measured in CIELAB by kornia; the colours are built in OKLab."""

import kornia
import numpy as np
import torch
from PIL import Image

from anomalib_flows.results.colours import table

STRIDE = 15
"""Levels between the compared colours: those of neighbours are rounded to whole numbers."""


def cielab(colours: np.ndarray) -> np.ndarray:
    values = torch.from_numpy(colours.astype(np.float64) / 255).T[None, :, :, None]
    return kornia.color.rgb_to_lab(values)[0, :, :, 0].T.numpy()


def uneven(colours: np.ndarray) -> tuple[float, float]:
    """Largest deviations of the steps of lightness and of the differences of colours from their means."""
    lab = cielab(colours)
    assert 0 <= lab[:, 0].min() <= lab[:, 0].max() <= 100
    steps = np.diff(lab[::STRIDE], axis=0)
    lightness, differences = steps[:, 0], np.linalg.norm(steps, axis=1)
    return tuple(float(np.abs(one / one.mean() - 1).max()) for one in (lightness, differences))


def test_colours_are_perceptually_uniform() -> None:
    lightness, differences = uneven(table())
    assert lightness < 0.2
    assert differences < 0.5


def test_colours_that_are_not_uniform_would_be_found() -> None:
    levels = np.arange(256)
    hue = np.stack([levels * 0.75, levels * 0 + 255, levels * 0 + 255], -1).astype(np.uint8)
    rainbow = np.asarray(Image.fromarray(hue[None], "HSV").convert("RGB"))[0]
    anchors = [[0, 0, 0], [255, 0, 0], [255, 255, 0], [255, 255, 255]]  # "hot"
    hot = np.stack([np.interp(levels, np.linspace(0, 255, 4), channel) for channel in np.transpose(anchors)], -1)
    for colours in (rainbow, hot):
        lightness, differences = uneven(colours)
        assert lightness > 0.5
        assert differences > 0.5


def test_lightness_rises_from_level_to_level() -> None:
    lightness = cielab(table())[:, 0]
    assert (np.diff(lightness) > 0).all()
    assert lightness[0] < 15
    assert lightness[-1] > 95
