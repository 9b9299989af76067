"""A model of another code base, from its checkpoint to figures."""

from __future__ import annotations

import csv
import json
import pickle
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from anomalib_flows import load, read_image
from anomalib_flows.cli import main
from reference import peers

pytestmark = pytest.mark.filterwarnings("always")  # the command line prints them

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def command(*arguments: object) -> int:
    return main([str(a) for a in arguments])


@pytest.fixture(scope="module")
def model() -> peers.FastFlow:
    return peers.gathierry(kernels=(3, 1))


@pytest.fixture(scope="module")
def file(model: peers.FastFlow, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of gathierry/FastFlow."""
    path = tmp_path_factory.mktemp("checkpoint") / "99.pt"
    torch.save({"epoch": 99, "model_state_dict": model.state_dict(), "optimizer_state_dict": {}}, path)
    return path


@pytest.fixture(scope="module")
def imported(file: Path, tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run without thresholds, of a known dataset."""
    run = tmp_path_factory.mktemp("results") / "imported"
    data = ["--data=mvtec", f"--data.root={tree}", "--data.category=stripes"]
    assert command("import-checkpoint", "--from", "gathierry", file, "--output", run, *data) == 0
    return run


@pytest.fixture
def fails(capsys: pytest.CaptureFixture[str]):
    """Run a command line that must fail with one sentence, and return it."""

    def run(*arguments: object) -> str:
        capsys.readouterr()
        assert command(*arguments) == 2
        errors = capsys.readouterr().err
        assert errors.startswith("error: ")
        assert errors.count("\n") == 1
        return errors

    return run


def normalised(image: Path) -> Tensor:
    pixels = torch.nn.functional.interpolate(read_image(image)[None].float(), (64, 64), mode="bilinear", antialias=True)
    return (pixels / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


def test_an_imported_run_is_one_like_any_other(imported: Path, model: Any, tree: Path, tmp_path: Path) -> None:
    assert {f.name for f in imported.iterdir()} == {"config.yaml", "model.safetensors", "splits.csv", "versions.json"}
    assert json.loads((imported / "versions.json").read_text())["imported"]["from"] == "gathierry"
    run = shutil.copytree(imported, tmp_path / "run")
    good, test = tree / "stripes/test/good", tree / "stripes/test"
    assert command("calibrate", run, "--images", good) == 0
    assert command("predict", run, "--input", test, "--output", tmp_path / "out") == 0
    with (tmp_path / "out/predictions.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 6
    for row in rows:
        expected = model(normalised(Path(row["path"]))).max()
        assert float(row["raw_score"]) == pytest.approx(float(expected), abs=1e-4)
    assert command("test", run) == 0
    assert json.loads((run / "metrics.json").read_text())["image"]["anomalous_images"] == 3


def test_without_a_dataset_all_but_test_works(file: Path, fails, tree: Path, tmp_path: Path) -> None:
    run, test = tmp_path / "run", tree / "stripes/test"
    assert command("import-checkpoint", file, "--from=gathierry", "--output", run) == 0
    assert "calibrate" in fails("predict", run, "--input", test, "--output", tmp_path / "out")
    assert "--images" in fails("calibrate", run)
    assert command("calibrate", run, "--images", tree / "stripes/test/good", "--false-alarm-rate=0.3") == 0
    assert command("calibrate", run) == 0
    assert command("predict", run, "--input", test, "--output", tmp_path / "out") == 0
    assert "--data" in fails("test", run)
    assert "--data" in fails("train", "-c", run / "config.yaml")
    assert "--data" in fails("train", "--resume", run)
    data = ["--data=mvtec", f"--data.root={tree}", "--data.category=stripes"]
    assert "resume.ckpt" in fails("train", "--resume", run, *data)
    assert command("test", run, *data) == 0


def test_the_weights_are_those_of_the_file(imported: Path, model: Any) -> None:
    detector = load(imported / "model.safetensors").detector
    saved = model.feature_extractor.state_dict()
    ours = detector.encoder.network.state_dict()
    assert all(torch.equal(ours[key], tensor) for key, tensor in saved.items())


def test_training_images_are_not_for_calibration(imported: Path, fails, tree: Path) -> None:
    assert "trained on" in fails("calibrate", imported, "--images", tree / "stripes/train/good")


def test_the_command_says_what_it_found_and_what_to_do(file: Path, tmp_path: Path, capsys) -> None:
    assert command("import-checkpoint", file, "--from", "gathierry", "--output", tmp_path / "run") == 0
    said = capsys.readouterr().out
    assert all(word in said for word in ("fastflow", "resnet18", "64x64", "clamp 2.0"))
    assert f"anomalib-flows calibrate {tmp_path / 'run'} --images" in said


def hostile(path: Path, made: Path) -> Path:
    class Hostile:
        def __reduce__(self) -> Any:
            return Path.touch, (made,)

    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", pickle.dumps({"model_state_dict": {"w": Hostile()}}, 2))
    return path


@pytest.mark.parametrize("damage", ["cut", "text", "empty", "folder", "missing", "ours", "hostile", "safetensors"])
def test_files_that_are_no_checkpoint(damage: str, file: Path, imported: Path, fails, tmp_path: Path) -> None:
    bad = tmp_path / "bad.pt"
    made = tmp_path / "made"
    if damage == "cut":
        bad.write_bytes(file.read_bytes()[:-1000])
    elif damage in ("text", "empty"):
        bad.write_text("no checkpoint" * (damage == "text"))
    elif damage == "folder":
        bad.mkdir()
    elif damage == "ours":
        shutil.copy(imported / "model.safetensors", bad)
    elif damage == "hostile":
        hostile(bad, made)
    elif damage == "safetensors":
        save_file(load_file(imported / "model.safetensors"), bad)
    message = fails("import-checkpoint", bad, "--from=gathierry", "--output", tmp_path / "run")
    assert str(bad) in message
    assert not (tmp_path / "run").exists()
    assert not made.exists()
    assert not list(tmp_path.glob(".tmp-*"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--from=anomalib"], ["anomalib", "--from gathierry"]),
        (["--from=cflow-ad"], ["cflow-ad", "--from gathierry"]),
        (["--from=keras"], ["--from cannot be keras", "'anomalib'"]),
        ([], ["--from must be given"]),
        (["--from=gathierry", "--image-size=128"], ["norms"]),
        (["--from=gathierry", "--image-size=big"], ["--image-size big"]),
        (["--from=gathierry", "--backbone=resnet81"], ["resnet81", "'resnet18'"]),
        (["--from=gathierry", "--clamp=-1"], ["--clamp cannot be -1"]),
        (["--from=gathierry", "--data=mvtec"], ["--data.root must be given, as there is no folder"]),
        (["--from=gathierry", "--data=mvtec", "--data.root=/nowhere", "--data.category=a"], ["/nowhere"]),
        (["--form=gathierry"], ["--form", "--from"]),
    ],
)
def test_options_of_no_use_leave_nothing(file: Path, fails, tmp_path: Path, arguments: list[str], words: list[str]):
    message = fails("import-checkpoint", file, "--output", tmp_path / "run", *arguments)
    assert all(word in message for word in words), message
    assert not list(tmp_path.iterdir())


def test_the_file_must_be_given(fails, tmp_path: Path) -> None:
    assert "file must be given" in fails("import-checkpoint", "--from=gathierry", "--output", tmp_path / "run")


def test_an_output_that_is_there_stays_as_it_is(file: Path, fails, tmp_path: Path) -> None:
    for output in (tmp_path / "folder/kept", tmp_path / "file"):
        output.parent.mkdir(exist_ok=True)
        output.write_text("kept")
        named = output.parent if output.name == "kept" else output
        assert str(named) in fails("import-checkpoint", file, "--from=gathierry", "--output", named)
        assert output.read_text() == "kept"
    (tmp_path / "empty").mkdir()
    assert command("import-checkpoint", file, "--from=gathierry", "--output", tmp_path / "empty") == 0
