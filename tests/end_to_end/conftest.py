"""A tiny product: stripes, some of them interrupted by a blob."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomalib_flows.cli import main

SMALL = [
    "--model=fastflow",
    "--model.backbone=test_efficientnet",
    "--model.weights=random",
    "--model.steps=2",
    "--data.image_size=64",
    "--data.batch_size=3",
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


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ROOT with the category ``stripes`` in MVTec AD's layout."""
    root = tmp_path_factory.mktemp("data")
    folder = root / "stripes"
    for part in ("train/good", "test/good", "test/blob", "ground_truth/blob"):
        (folder / part).mkdir(parents=True)
    for i in range(8):
        draw(i)[0].save(folder / f"train/good/{i}.png")
    for i in range(3):
        draw(100 + i)[0].save(folder / f"test/good/{i}.png")
        image, mask = draw(200 + i, blob=True)
        image.save(folder / f"test/blob/{i}.png")
        mask.save(folder / f"ground_truth/blob/{i}_mask.png")
    return root


@pytest.fixture(scope="session")
def train(tree: Path, tmp_path_factory: pytest.TempPathFactory):
    """Train on the tiny product with further options, and return the run directory."""

    def run(*options: str) -> Path:
        output = tmp_path_factory.mktemp("results")
        data = ["--data=mvtec", f"--data.root={tree}", "--data.category=stripes"]
        assert main(["train", *SMALL, *data, f"--output={output}", *options]) == 0
        return output / "fastflow/mvtec/stripes/run-001"

    return run


@pytest.fixture(scope="session")
def trained(train) -> Path:
    """A finished run of two epochs, not to be changed."""
    return train("--trainer.max_epochs=2")
