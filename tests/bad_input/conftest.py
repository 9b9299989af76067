"""A small world: a dataset, photos, a finished run and an exported model, in the folder that tests run in."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import pytest
from refusals import TRAIN

import tiny_export
import trees
from anomalib_flows.cli import main


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the world once."""
    world = tmp_path_factory.mktemp("world")
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("always")
        patch.chdir(world)
        trees.mvtec(Path("data"))
        trees.draw(Path("photos"), "1.png", "2.jpg")
        assert main(TRAIN) == 0
        shutil.move("results/fastflow/mvtec/nut/run-001", "run")
        shutil.rmtree("results")
        tiny_export.write(Path("model.xml"))
        Path("notes.txt").write_text("no image, no run and no configuration\n")
        Path("mine.yaml").write_text("model: fastflow\nseed: 3\n")
        Path("empty").mkdir()
    return world


@pytest.fixture
def world(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The world, which no test changes, as the current folder."""
    monkeypatch.chdir(made)
    return made


@pytest.fixture
def own(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the world, which a test may change, as the current folder."""
    copy = shutil.copytree(made, tmp_path / "world")
    monkeypatch.chdir(copy)
    return copy
