"""Runs that were interrupted, and commands that meet on one run or folder."""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from tiny import SMALL

from anomalib_flows.cli import main
from anomalib_flows.core.commit import READY, complete
from anomalib_flows.core.files import place, remove_leftovers
from anomalib_flows.core.locks import locked
from anomalib_flows.data.publish import preparing
from anomalib_flows.export import export as exporting
from power_loss import forgetful
from published import image, pack

pytestmark = pytest.mark.filterwarnings("always")  # the command line prints them
FIGURES = ("model.safetensors", "metrics.json", "predictions.csv", "losses.csv", "splits.csv")


def figures(run: Path) -> dict[str, bytes]:
    return {name: (run / name).read_bytes() for name in FIGURES}


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return shutil.copytree(trained, tmp_path / "run")


def test_a_run_that_was_killed_before_its_first_state_begins_again(train: Callable[..., Path]) -> None:
    run = train("--trainer.max_epochs=2", "--split.validation_fraction=0.3")
    drawn = (run / "validation/predictions.csv").read_bytes()
    whole = figures(run)
    for path in [*run.iterdir(), *(run / "validation").iterdir()]:
        if path.name not in ("config.yaml", "versions.json", "splits.csv", "validation", "drawn", ".anomalib-flows"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert main(["train", "--resume", str(run)]) == 0
    assert figures(run) == whole
    assert (run / "validation/predictions.csv").read_bytes() == drawn


def test_a_model_without_a_state_is_not_trained_again(run: Path, capsys) -> None:
    (run / "resume.ckpt").unlink()
    before = figures(run)
    assert main(["train", "--resume", str(run)]) == 2
    assert "resume.ckpt is missing: this run cannot be resumed, train again" in capsys.readouterr().err
    assert figures(run) == before


def test_a_run_of_a_version_without_an_option_keeps_its_map(train: Callable[..., Path]) -> None:
    earlier = {"tail": 0, "coarse_weight": 1, "components": None}
    run = train("--model.tail=0", "--model.coarse_weight=1", "--model.components=null")
    before, config = figures(run), yaml.safe_load((run / "config.yaml").read_text())
    recorded = config["model"]["init_args"]
    assert {name: recorded.pop(name) for name in earlier} == earlier
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    assert main(["train", "--resume", str(run)]) == 0
    completed = yaml.safe_load((run / "config.yaml").read_text())["model"]["init_args"]
    assert {name: completed[name] for name in earlier} == earlier
    assert figures(run) == before


def test_a_run_appears_with_its_first_files(tree: Path, tmp_path: Path, monkeypatch) -> None:
    seen = []

    def watched(folder: Path, path: Path) -> None:
        seen.append(sorted(file.name for file in folder.iterdir()))
        place(folder, path)
        raise KeyboardInterrupt

    monkeypatch.setattr("anomalib_flows.run.directory.place", watched)
    data = ["--data=mvtec", f"--data.root={tree}", "--data.category=stripes", "--split.validation_fraction=0.3"]
    assert main(["train", *SMALL, *data, "--trainer.max_epochs=1", f"--output={tmp_path}"]) == 130
    assert seen == [["config.yaml", "splits.csv", "validation", "versions.json"]]
    (run,) = tmp_path.glob("*/*/*/*")
    assert main(["train", "--resume", str(run)]) == 0  # the record of drawn images has their temporary places
    with (run / "splits.csv").open() as stream:
        assert all(Path(row["path"]).is_file() for row in csv.DictReader(stream))
    assert (run / "validation/metrics.json").is_file()


@pytest.mark.parametrize("command", [["test"], ["calibrate"], ["train", "--resume"]])
def test_a_run_that_another_command_writes_to_is_left_alone(run: Path, capsys, command: list[str]) -> None:
    before = figures(run)
    with locked(run):
        assert main([*command, str(run)]) == 2
    assert f"Another command writes to {run}: wait until it has ended." in capsys.readouterr().err
    assert figures(run) == before
    assert main([*command, str(run)]) == 0


@pytest.mark.parametrize("command", [["test"], ["calibrate"], ["train", "--resume"]])
def test_a_run_that_is_read_only_is_named_before_any_work(run: Path, capsys, monkeypatch, command: list[str]) -> None:
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK and access(path, mode))  # root may write
    assert main([*command, str(run)]) == 2
    assert f"run {run} cannot be written: {run} is read-only; name another one." in capsys.readouterr().err


def test_of_two_exports_to_one_folder_the_first_is_kept(run: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    target = tmp_path / "exported"

    def meanwhile(*arguments):
        target.mkdir()
        (target / "model.xml").touch()
        return compare(*arguments)

    compare = exporting.compare_file
    monkeypatch.setattr(exporting, "compare_file", meanwhile)
    assert main(["export", str(run), f"--output={target}"]) == 2
    assert f"{target} was made by another process meanwhile and is kept" in capsys.readouterr().err
    assert [file.name for file in target.iterdir()] == ["model.xml"]


@pytest.mark.parametrize("exists", [True, False])
def test_of_two_preparations_of_one_root_the_first_is_kept(tmp_path: Path, monkeypatch, capsys, exists: bool) -> None:
    archive = pack(tmp_path / "mvtec.tar.gz", {f"bottle/{part}/good/0.png": image() for part in ("train", "test")})
    root = tmp_path / "root"
    if exists:
        root.mkdir()

    def meanwhile(*arguments):
        (root / "bottle").mkdir(parents=True)
        (root / "bottle/mine.txt").touch()
        return merge(*arguments)

    merge = preparing.merge
    monkeypatch.setattr(preparing, "merge", meanwhile)
    words = ["data", "prepare", "mvtec", f"--root={root}", f"--archive={archive}"]
    assert main(words) == 2
    assert "and is kept: name another" in capsys.readouterr().err
    assert sorted(file.name for file in root.rglob("*")) == ["bottle", "mine.txt"]
    if exists:
        with locked(root):
            shutil.rmtree(root / "bottle")
            assert main(words) == 2
        assert f"Another command prepares --root {root}: wait until it has ended." in capsys.readouterr().err


def test_a_calibration_survives_a_loss_of_power_whole(run: Path, tree: Path, tmp_path: Path) -> None:
    names = ("model.safetensors", "config.yaml", "splits.csv")
    photos = shutil.copytree(tree / "stripes/test/good", tmp_path / "photos")

    def state(folder: Path) -> tuple[bytes, ...]:
        return tuple((folder / name).read_bytes() for name in names)

    before = state(run)
    with forgetful(run) as disk:
        assert main(["calibrate", str(run), f"--images={photos}", "--false-alarm-rate=0.2"]) == 0
    after = state(run)
    assert all(old != new for old, new in zip(before, after, strict=True))
    seen = set()
    for folder in disk.after_power_loss(tmp_path / "after"):
        complete(folder)
        remove_leftovers(folder)
        seen.add(state(folder))
    assert seen == {before, after}


def test_leftovers_of_a_killed_command_are_removed_by_the_next(run: Path) -> None:
    left = run / f".tmp-{0:032x}"
    left.mkdir()
    (left / "model.safetensors").touch()
    assert main(["calibrate", str(run), "--false-alarm-rate=0.2"]) == 0
    assert not left.exists()


@pytest.mark.parametrize("command", ["report", "runs", "test"])
def test_what_a_killed_calibration_had_decided_comes_true(run: Path, tmp_path: Path, command: str) -> None:
    other = shutil.copytree(run, tmp_path / "other")
    assert main(["calibrate", str(other), "--false-alarm-rate=0.2"]) == 0
    ready = run / READY
    ready.mkdir()
    for name in ("model.safetensors", "config.yaml"):
        shutil.copy(other / name, ready)
    assert main([command, str(run)]) == 0
    assert (run / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()
    assert not ready.exists()
