"""A tiny product, stripes of which some are interrupted by a blob, and options for a quick training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

SMALL = [
    "--model=fastflow",
    "--model.backbone=test_efficientnet",
    "--model.weights=random",
    "--model.steps=2",
    "--model.schedule=constant",  # for runs that are made longer afterwards
    "--image.size=64",
    "--loader.batch_size=3",
    "--trainer.accelerator=cpu",
]


def draw(seed: int, *, blob: bool = False) -> tuple[Image.Image, Image.Image]:
    rng = np.random.default_rng(seed)
    stripes = 128 + 60 * np.sin(np.arange(72) / 3 + rng.uniform(0, 6))
    pixels = np.tile(stripes, (64, 1))[..., None] + rng.normal(0, 8, (64, 72, 3))
    mask = np.zeros((64, 72), bool)
    if blob:
        y, x = rng.integers(8, 40, 2)
        mask[y : y + 14, x : x + 14] = True
        pixels[mask] = rng.normal(200, 40, (int(mask.sum()), 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8)), Image.fromarray(mask.astype(np.uint8) * 255)


@contextmanager
def without_images(folder: Path) -> Iterator[None]:
    """Empty a folder for the block."""
    elsewhere = folder.with_name("elsewhere")
    folder.rename(elsewhere)
    folder.mkdir()
    yield
    folder.rmdir()
    elsewhere.rename(folder)
