"""A tiny dataset for tools."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return the root of a dataset of grey noise, with a striped square on the defective images."""
    rng = np.random.default_rng(0)
    for part, count in {"train/good": 4, "test/good": 3, "test/stripes": 3}.items():
        (tmp_path / "noise" / part).mkdir(parents=True)
        for i in range(count):
            pixels = rng.normal(128, 20, (64, 64, 3)).clip(0, 255).astype(np.uint8)
            if part == "test/stripes":
                pixels[16:40, 16:40] = 128 + 100 * (np.arange(24) // 4 % 2)[:, None, None]
                mask = np.zeros((64, 64), np.uint8)
                mask[16:40, 16:40] = 255
                (tmp_path / "noise/ground_truth/stripes").mkdir(parents=True, exist_ok=True)
                Image.fromarray(mask).save(tmp_path / f"noise/ground_truth/stripes/{i}_mask.png")
            Image.fromarray(pixels).save(tmp_path / "noise" / part / f"{i}.png")
    return tmp_path
