"""Images that are changed at random, in training and in testing, as a user types it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from anomalib_flows.cli import main

pytestmark = pytest.mark.filterwarnings("always")  # the command line prints them

AUGMENT = ("--augment.rotate=10", "--augment.flip=true", "--augment.noise=5", "--augment.zoom=0.9")


@pytest.fixture(scope="module")
def augmented(train) -> Path:
    """A run of two epochs on changed images, not to be changed."""
    return train("--trainer.max_epochs=2", *AUGMENT)


def test_training_on_changed_images_is_another_training(augmented: Path, trained: Path) -> None:
    assert (augmented / "predictions.csv").read_bytes() != (trained / "predictions.csv").read_bytes()
    recorded = yaml.safe_load((augmented / "config.yaml").read_text())["augment"]
    assert (recorded["rotate"], recorded["flip"], recorded["interpolation"]) == (10, True, "bilinear")


def test_a_resumed_run_sees_the_same_changes(train, augmented: Path) -> None:
    run = train("--trainer.max_epochs=1", *AUGMENT)
    assert main(["train", "--resume", str(run), "--trainer.max_epochs=2"]) == 0
    for name in ("metrics.json", "predictions.csv", "model.safetensors"):
        assert (run / name).read_bytes() == (augmented / name).read_bytes()


def test_the_saved_configuration_repeats_the_changes(augmented: Path, tmp_path: Path) -> None:
    assert main(["train", "-c", str(augmented / "config.yaml"), f"--output={tmp_path}"]) == 0
    again = tmp_path / "fastflow/mvtec/stripes/run-001"
    assert (again / "model.safetensors").read_bytes() == (augmented / "model.safetensors").read_bytes()


def test_a_resumed_run_keeps_its_changes(augmented: Path, capsys) -> None:
    assert main(["train", "--resume", str(augmented), "--augment.rotate=20"]) == 2
    assert "--augment.rotate cannot change" in capsys.readouterr().err


def test_disturbed_figures_stand_beside_clean_ones(trained: Path, tmp_path: Path, capsys) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    assert main(["test", str(run), "--disturb.rotate=45", "--disturb.brightness=0.5"]) == 0
    shown = capsys.readouterr().out.splitlines()
    names = [line.split("  ")[0] for line in shown if line.startswith(("all", "blob"))]
    assert names == ["all", "all, disturbed", "blob", "blob, disturbed"]
    for name in ("metrics.json", "predictions.csv", "model.safetensors"):
        assert (run / name).read_bytes() == (trained / name).read_bytes()
    clean, disturbed = (json.loads((run / name).read_text()) for name in ("metrics.json", "disturbed/metrics.json"))
    assert disturbed["disturb"]["rotate"] == 45
    assert disturbed["image"]["threshold"] == clean["image"]["threshold"]
    assert disturbed["pixel"]["auroc"] != clean["pixel"]["auroc"]
    pictures = [
        {f.relative_to(folder) for f in folder.rglob("*.jpg")} for folder in (run / "images", run / "disturbed/images")
    ]
    assert len(pictures[0]) == 6
    assert pictures[0] == pictures[1]


def test_a_disturbance_repeats_itself_and_follows_its_seed(trained: Path, tmp_path: Path) -> None:
    figures = []
    for seed in (0, 0, 1):
        run = Path(shutil.copytree(trained, tmp_path / f"run{len(figures)}"))
        assert main(["test", str(run), "--disturb.zoom=0.7", f"--seed={seed}"]) == 0
        figures.append((run / "disturbed/predictions.csv").read_bytes())
    assert figures[0] == figures[1] != figures[2]


@pytest.mark.parametrize("option", ["--disturb.zoom=0", "--disturb.rotate=-1", "--disturb.blur=99"])
def test_disturbances_of_no_use_are_said(trained: Path, capsys, option: str) -> None:
    assert main(["test", str(trained), option]) == 2
    assert option.partition("=")[0] in capsys.readouterr().err


def test_who_changes_nothing_does_not_wait_for_kornia(trained: Path, tree: Path, tmp_path: Path) -> None:
    image = tree / "stripes/test/blob/0.png"
    commands = [["predict", str(trained), f"--input={image}", f"--output={tmp_path / 'out'}"], ["train", "--help"]]
    code = f"""
import sys
from anomalib_flows.cli import main
for command in {commands}:
    try:
        main(command)
    except SystemExit:
        pass
print([name for name in sys.modules if name.startswith("kornia")])
"""
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "overlay" in {folder.name for folder in (tmp_path / "out").iterdir()}
    assert finished.stdout.endswith("[]\n")
