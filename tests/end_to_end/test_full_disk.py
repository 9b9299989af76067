"""On a full disk each command ends with one sentence that names the file, and nothing is lost or half written."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tiny import SMALL

from anomalib_flows.cli import main
from published import image, pack

resource = pytest.importorskip("resource")
pytestmark = pytest.mark.filterwarnings("always")  # the command line prints them
Content = dict[str, bytes]


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let the system refuse what would make a file larger, as it does on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def content(folder: Path) -> Content:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return shutil.copytree(trained, tmp_path / "run")


@pytest.mark.parametrize(
    ("words", "size", "named"),
    [
        (["calibrate", "{run}", "--false-alarm-rate=0.3"], 100_000, "model.safetensors"),
        (["test", "{run}"], 10_000, "run/"),
        (["report", "{run}"], 10_000, "report.html"),
        (["export", "{run}", "--format=openvino"], 100_000, "run/export/openvino-fp16"),
        (["export", "{run}", "--format=onnx"], 100_000, "run/export/onnx-fp32"),
        (["export", "{run}", "--format=torch"], 100_000, "run/export/torch-fp32"),
        (["train", "--resume={run}", "--trainer.max_epochs=4"], 100_000, "resume.ckpt"),
        (["latency", "{run}", "--seconds=0.01", "--output={run}/latency.json"], 10, "latency.json"),
    ],
)
def test_nothing_of_a_run_changes(run: Path, capsys, words: list[str], size: int, named: str) -> None:
    before = content(run)
    with largest_file(size):
        assert main([word.format(run=run) for word in words]) == 2
    said = capsys.readouterr().err
    assert said.count("error: ") == 1
    assert "Traceback" not in said
    assert "File too large" in said
    assert named in said
    after = content(run)
    changed = {name for name in after if after[name] != before.get(name)}  # how a resumed training went so far
    assert not before.keys() - after.keys()
    assert all(name.startswith(("logs/", "losses.csv", "config.yaml")) for name in changed), changed
    assert not list(run.rglob(".tmp-*"))


def test_a_training_that_could_not_begin_leaves_no_run(tree: Path, tmp_path: Path, capsys) -> None:
    data = ["--data=mvtec", f"--data.root={tree}", "--data.category=stripes"]
    with largest_file(100):
        assert main(["train", *SMALL, *data, f"--output={tmp_path / 'results'}"]) == 2
    assert "--output" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.yaml"))
    assert not list(tmp_path.rglob("run-*"))


@pytest.mark.parametrize("exists", [True, False])
def test_nothing_of_an_archive_is_left(tmp_path: Path, capsys, exists: bool) -> None:
    archive = pack(tmp_path / "mvtec.tar.gz", {f"bottle/{part}/good/0.png": image() for part in ("train", "test")})
    root = tmp_path / "root"
    if exists:
        root.mkdir()
        (root / "notes.txt").touch()
    before = content(tmp_path)
    with largest_file(20):
        assert main(["data", "prepare", "mvtec", f"--root={root}", f"--archive={archive}"]) == 2
    said = capsys.readouterr().err
    assert f"Cannot read or write {root}" in said
    assert content(tmp_path) == before
    assert root.exists() == exists


def test_a_cache_on_a_full_disk_is_not_kept(train: Callable[..., Path], tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("anomalib_flows.core.store.RESERVE", 10**15)
    train("--trainer.max_epochs=1")
    assert "nearly full" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*features/*"))
