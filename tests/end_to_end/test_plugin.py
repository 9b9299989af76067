"""A plug-in that pip installs is found, trained and tested like what comes with us; a broken one harms nobody."""

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from anomalib_flows.cli import main

PLUG_IN = Path(__file__).parents[2] / "docs/example_plugin"
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the example plug-in, installed, and a broken one."""
    site = tmp_path_factory.mktemp("site")
    offline = ["--no-build-isolation", "--no-deps", "--no-index", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "install", *offline, "--target", site, PLUG_IN]
    subprocess.run(command, check=True, capture_output=True)
    info = site / "broken_plug_in-3.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-plug-in\nVersion: 3.0\n")
    entries = (
        "[anomalib_flows.models]\nbroken = broken_plug_in:Broken\n[anomalib_flows.datasets]\nlost = not_there:Lost\n"
    )
    (info / "entry_points.txt").write_text(entries)
    (site / "broken_plug_in.py").write_text("raise RuntimeError('no licence found')\n")
    return site


@pytest.fixture(scope="module")
def python(site: Path) -> Run:
    """Run Python with the plug-ins."""
    environment = os.environ | {"PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}

    def run(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *map(str, arguments)]
        return subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True)

    return run


@pytest.fixture(scope="module")
def photos(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs named ok_* and ng_*."""
    folder = tmp_path_factory.mktemp("named") / "photos"
    folder.mkdir()
    for prefix, source in {"ok": "train/good", "ng": "test/blob"}.items():
        for path in (tree / "stripes" / source).iterdir():
            shutil.copy(path, folder / f"{prefix}_{path.name}")
    return folder


def test_plug_ins_are_listed_with_their_distribution(python: Run) -> None:
    models, datasets = (python("-m", "anomalib_flows.cli", "list", kind) for kind in ("models", "datasets"))
    lines = [" ".join(line.split()) for line in models.stdout.splitlines()]
    assert "gaussian flows_example.gaussian.Gaussian (flows-example 0.1.0)" in lines
    assert "broken broken_plug_in.Broken (broken-plug-in 3.0)" in lines
    assert any(line.startswith("fastflow ") for line in lines)
    assert "(flows-example 0.1.0)" in datasets.stdout
    assert models.stderr == datasets.stderr == ""


def test_a_plug_in_trains_tests_and_predicts(python: Run, photos: Path, tmp_path: Path) -> None:
    model = ["--model=gaussian", "--model.backbone=test_efficientnet", "--model.weights=random"]
    data = ["--data=named_files", "--data.root=photos", "--image.size=64", "--loader.batch_size=3"]
    rest = ["--trainer.max_epochs=1", "--trainer.accelerator=cpu", f"--output={tmp_path}"]
    trained = python("-m", "anomalib_flows.cli", "train", *model, *data, *rest, cwd=photos.parent)
    assert trained.returncode == 0, trained.stderr
    run = tmp_path / "gaussian/named_files/photos/run-001"
    assert json.loads((run / "metrics.json").read_text())
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert (config["model"]["class_path"], config["data"]["class_path"]) == ("gaussian", "named_files")
    out = tmp_path / "out"
    predicted = python("-m", "anomalib_flows.cli", "predict", run, f"--input={photos}", f"--output={out}")
    assert predicted.returncode == 0, predicted.stderr
    with (out / "predictions.csv").open() as stream:
        assert len(list(csv.DictReader(stream))) == len(list(photos.iterdir()))


def test_the_plug_ins_own_tests_pass(python: Run) -> None:
    tested = python("-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=PLUG_IN)
    assert tested.returncode == 0, tested.stdout
    assert "5 passed" in tested.stdout


BROKEN = "broken_plug_in.Broken of broken-plug-in 3.0 cannot be imported (RuntimeError: no licence found)."
LOST = "not_there.Lost of broken-plug-in 3.0 cannot be imported (ModuleNotFoundError: No module named 'not_there')."


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model=broken", "--data=folder"], BROKEN),
        (["--model.help", "broken"], BROKEN),
        (["--config=config.yaml", "--data=folder"], BROKEN),
        (["--model=fastflow", "--data=lost"], LOST),
    ],
)
def test_a_broken_plug_in_fails_when_asked_for(
    site: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    message: str,
) -> None:
    monkeypatch.syspath_prepend(site)
    monkeypatch.chdir(tmp_path)
    Path("config.yaml").write_text("model:\n  class_path: broken\n")
    assert main(["train", *options]) == 2
    assert capsys.readouterr() == ("", f"error: {message}\n")
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]
