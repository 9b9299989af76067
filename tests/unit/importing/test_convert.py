"""An imported checkpoint is a run like any other, but without thresholds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from anomalib_flows.core.errors import InputError
from anomalib_flows.data.splits import read_splits
from anomalib_flows.importing.convert import import_checkpoint
from anomalib_flows.importing.options import ImportOptions
from anomalib_flows.models.checkpoint import load_pipeline
from anomalib_flows.run.component import Component
from anomalib_flows.run.directory import Run
from reference import peers


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "99.pt"
    torch.save({"model_state_dict": peers.gathierry(kernels=(3, 1)).state_dict()}, path)
    return path


def test_a_run_without_a_dataset(file: Path, tmp_path: Path) -> None:
    run = import_checkpoint(file, "gathierry", tmp_path / "run", ImportOptions(clamp=1.5))
    assert run == Run(tmp_path / "run")
    assert {f.name for f in run.path.iterdir()} == {"config.yaml", "model.safetensors", "splits.csv", "versions.json"}
    config = Run.open(run.path).config()
    assert (config.data, config.model.class_path, config.model.init_args["clamp"]) == (None, "fastflow", 1.5)
    assert (config.image.height_width, config.heatmap.top_percent) == ((64, 64), 0)
    assert read_splits(run.splits_file) == []
    recorded = json.loads((run.path / "versions.json").read_text())["imported"]
    assert recorded == {"from": "gathierry", "file": str(file)}
    pipeline = load_pipeline(run.model_file)
    assert not pipeline.postprocess.calibrated
    assert pipeline.heatmap == config.heatmap


def test_the_images_of_a_dataset_are_recorded(file: Path, tmp_path: Path) -> None:
    data = Component("synthetic", {"category": "board"})
    run = import_checkpoint(file, "gathierry", tmp_path / "run", ImportOptions(data=data))
    assert run.config().data == data
    assert {sample.split for sample in read_splits(run.splits_file)} >= {"train", "test"}


def test_a_folder_that_is_not_empty_stays(file: Path, tmp_path: Path) -> None:
    (tmp_path / "kept.txt").write_text("kept")
    with pytest.raises(InputError, match="`output` .* exists already"):
        import_checkpoint(file, "gathierry", tmp_path)
    assert [f.name for f in tmp_path.iterdir()] == ["kept.txt"]


def test_nothing_is_left_behind_by_a_failure(file: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="`from` gathierry"):
        import_checkpoint(file, "anomalib", tmp_path / "run")
    with pytest.raises(InputError, match="resnet81"):
        import_checkpoint(file, "gathierry", tmp_path / "run", ImportOptions(backbone="resnet81"))
    assert not list(tmp_path.iterdir())
