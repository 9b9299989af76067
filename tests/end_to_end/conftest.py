"""Runs on a tiny product."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tiny import SMALL, draw

from anomalib_flows.cli import main


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


@pytest.fixture
def two_categories(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with the categories ``a`` and ``b`` where they are looked for without a root."""
    for name in ("a", "b"):
        shutil.copytree(tree / "stripes", tmp_path / "datasets/mvtec" / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ANOMALIB_FLOWS_DATA", raising=False)
    return tmp_path


@pytest.fixture(scope="session")
def train(tree: Path, tmp_path_factory: pytest.TempPathFactory):
    """Train on the tiny product with further options, and return the run directory."""

    def run(*options: str) -> Path:
        output = tmp_path_factory.mktemp("results")
        data = ["--data=mvtec", f"--data.root={tree}", "--data.category=stripes"]
        assert main(["train", *SMALL, *data, f"--output={output}", *options]) == 0
        (run,) = output.glob("*/mvtec/stripes/run-001")
        return run

    return run


@pytest.fixture(scope="session")
def trained(train) -> Path:
    """A finished run of two epochs, not to be changed."""
    return train("--trainer.max_epochs=2")
