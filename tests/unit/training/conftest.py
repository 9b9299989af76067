"""Images to train on."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomalib_flows.core.types import Sample


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    noise = np.random.default_rng(0).integers(0, 256, (5, 40, 50, 3), np.uint8)
    for i, pixels in enumerate(noise):
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    return [Sample(tmp_path / f"{i}.png", "train") for i in range(5)]
