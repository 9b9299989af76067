"""Bad input: one clear sentence, exit code 2, no traceback, nothing half written."""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny import SMALL

from anomalib_flows import FastFlow
from anomalib_flows.cli import main

pytestmark = pytest.mark.filterwarnings("always")  # the command line prints them


@pytest.fixture
def fails(capsys: pytest.CaptureFixture[str]):
    """Run a command line that must fail with one sentence, and return it."""

    def run(*arguments: object) -> str:
        capsys.readouterr()
        assert main([str(a) for a in arguments]) == 2
        lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
        assert len(lines) == 1
        return lines[0]

    return run


@pytest.fixture
def data(tree: Path, tmp_path: Path) -> list[str]:
    """Options of a copy of the tiny product that may be damaged."""
    shutil.copytree(tree, tmp_path / "data")
    return ["--data=mvtec", f"--data.root={tmp_path / 'data'}", "--data.category=stripes", "--trainer.max_epochs=1"]


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "results"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["trian"], ["trian", "'train'"]),
        (["train"], ["--model", "--data"]),
        (["train", "--model", "fastflwo", "--data", "mvtec"], ["fastflwo", "'fastflow'"]),
        (["train", "--model", "fastflow", "--data", "mvtex"], ["mvtex", "'mvtec'"]),
        (["train", "--model", "fastflow", "--data", "mvtec"], ["--data.root must be given", "data prepare mvtec"]),
        (["train", "--modle", "fastflow"], ["--modle", "--model"]),
        (["train", "--model", "fastflow", "--model.stpes", "3"], ["--model.stpes", "--model.steps"]),
        (["train", "--model", "fastflow", "--model.steps", "few"], ["--model.steps", "few", "whole number"]),
        (["train", "--model", "fastflow", "--data", "mvtec", "--data.rot", "x"], ["--data.rot", "--data.root"]),
        (["train", "--model.backbone=resnet18"], ["--model must be given beside --model.backbone", "list models"]),
        (["data", "check", "--data.normal=photos"], ["--data must be given beside --data.normal", "list datasets"]),
        (["data", "check", "photoss"], ["photoss is not a folder: check the path"]),
        (["train", "-c", "fastflow/resnet81"], ["fastflow/resnet81", "fastflow/resnet18"]),
        (["train", "--resume", "nowhere"], ["nowhere", "config.yaml"]),
        (["test", "nowhere"], ["nowhere", "config.yaml"]),
        (["predict", "nowhere", "--input", "x", "--output", "y"], ["nowhere"]),
        (["list", "backbone"], ["backbone", "backbones"]),
        (["train", "--model", "", "--data", "mvtec"], ["model ''"]),
        (["train", "--model", "fastflow", "--data.root", "x"], ["--data must be given"]),
    ],
)
def test_the_sentence_names_what_was_typed_and_what_to_type(fails, arguments: list[str], words: list[str]) -> None:
    message = fails(*arguments)
    assert all(word in message for word in words), message


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--data.root=/nowhere", ["--data.root", "/nowhere"]),
        ("--data.category=strips", ["strips", "'stripes'"]),
        ("--image.size=big", ["--image.size", "big"]),
        ("--model.backbone=resnet81", ["resnet81", "'resnet18'"]),
        ("--model.weights=nowhere.safetensors", ["--model.weights", "nowhere.safetensors"]),
        ("--model.layers=[9]", ["--model.layers", "9"]),
        ("--model.layers=[]", ["--model.layers"]),
        ("--model.steps=0", ["--model.steps", "0"]),
        ("--model.kernel_sizes=[2]", ["--model.kernel_sizes", "odd"]),
        ("--model.learning_rate=-1", ["--model.learning_rate", "-1"]),
        ("--false_alarm_rate=1.5", ["--false-alarm-rate", "1.5"]),
        ("--trainer.accelerator=cuda", ["cuda"]),
        ("--trainer.precision=16-mixed", ["16-mixed", "bf16-mixed"]),
        ("--trainer.max_epochs=0", ["--trainer.max_epochs"]),
        ("--pictures=-1", ["--pictures", "-1"]),
    ],
)
def test_options_are_refused_before_anything_is_written(
    fails, data, output: Path, option: str, words: list[str]
) -> None:
    if "cuda" in option and torch.cuda.is_available():
        pytest.skip("there is CUDA")
    message = fails("train", *SMALL, *data, f"--output={output}", option)
    assert all(word in message for word in words), message
    assert not output.exists()


MOVED = [
    ("--data.image_size=64", "--data.image_size is now --image.size."),
    ("--data.batch-size=3", "--data.batch_size is now --loader.batch_size."),
    ("--data.validation_fraction=0.4", "--data.validation_fraction is now --split.validation_fraction."),
]


@pytest.mark.parametrize(("option", "sentence"), MOVED)
def test_an_option_that_has_another_name_now_is_answered_with_it(fails, data, option: str, sentence: str) -> None:
    assert fails("train", *SMALL, *data, option) == f"error: {sentence}"


@pytest.mark.parametrize("damage", ["truncated", "empty", "text"])
def test_a_broken_image_is_named_or_skipped(fails, data, output: Path, tmp_path: Path, damage: str, capsys) -> None:
    image = tmp_path / "data/stripes/train/good/3.png"
    content = {"truncated": image.read_bytes()[:900], "empty": b"", "text": b"no image"}[damage]
    image.write_bytes(content)
    message = fails("train", *SMALL, *data, f"--output={output}")
    assert str(image) in message
    assert "--loader.on_error skip" in message
    assert not output.exists()
    assert main(["train", *SMALL, *data, f"--output={output}", "--loader.on_error=skip"]) == 0
    assert str(image) in capsys.readouterr().err


def test_a_mask_of_another_size_is_named(fails, data, output: Path, tmp_path: Path) -> None:
    mask = tmp_path / "data/stripes/ground_truth/blob/1_mask.png"
    Image.new("L", (10, 10), 255).save(mask)
    assert str(mask) in fails("train", *SMALL, *data, f"--output={output}")


def test_an_empty_or_missing_mask_is_a_warning(data, output: Path, tmp_path: Path, capsys) -> None:
    masks = tmp_path / "data/stripes/ground_truth/blob"
    Image.new("L", (72, 64)).save(masks / "1_mask.png")
    (masks / "2_mask.png").unlink()
    assert main(["train", *SMALL, *data, f"--output={output}"]) == 0
    warnings = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning:")]
    assert any("1_mask.png" in line for line in warnings)
    assert any("2.png" in line for line in warnings)


def test_one_image_is_too_few(fails, data, output: Path, tmp_path: Path) -> None:
    for i in range(1, 8):
        (tmp_path / f"data/stripes/train/good/{i}.png").unlink()
    assert "training image" in fails("train", *SMALL, *data, f"--output={output}")
    assert not output.exists()


def test_nothing_to_train_on_is_said_by_both_protocols(fails, data, output: Path, tmp_path: Path) -> None:
    table = tmp_path / "list.csv"
    folder = tmp_path / "data/stripes/test"
    table.write_text(f"path,label,split\n{folder}/good/0.png,good,test\n{folder}/blob/0.png,bad,test\n")
    for protocol in ("paper", "calibrated"):
        listed = ["--data=folder", f"--data.table={table}", f"--protocol={protocol}", f"--output={output}"]
        assert "train" in fails("train", *SMALL, *listed)
        assert not output.exists()


def test_a_loss_that_is_no_number_stops_and_keeps_the_last_good_state(fails, data, output: Path) -> None:
    message = fails("train", *SMALL, *data, f"--output={output}", "--model.learning_rate=1000")
    assert "step" in message
    assert "epoch 1" in message
    [run] = output.rglob("run-001")
    weights = load_file(run / "model.safetensors")
    assert all(w.isfinite().all() for name, w in weights.items() if not name.startswith("postprocess"))
    assert main(["train", "--resume", str(run), "--model.learning_rate=0.001"]) == 0


@pytest.mark.parametrize("option", ["--model.steps=3", "--model.clamp=2", "--image.resize=pad", "--seed=4"])
def test_a_run_is_resumed_with_its_own_options_only(fails, trained: Path, tmp_path: Path, option: str) -> None:
    run = shutil.copytree(trained, tmp_path / "run")
    before = (run / "config.yaml").read_bytes()
    assert option.partition("=")[0] in fails("train", "--resume", run, option, "--trainer.max_epochs=3")
    assert (run / "config.yaml").read_bytes() == before


def test_a_damaged_checkpoint_is_not_resumed(fails, trained: Path, tmp_path: Path) -> None:
    run = shutil.copytree(trained, tmp_path / "run")
    (run / "resume.ckpt").write_bytes(b"damaged")
    assert "resume.ckpt" in fails("train", "--resume", run, "--trainer.max_epochs=3")
    (run / "config.yaml").write_text("model: {")
    assert "config.yaml" in fails("test", run)
    (run / "config.yaml").write_text("modell: fastflow")
    assert "config.yaml" in fails("test", run)
    (run / "config.yaml").write_text("model: fastflow")
    assert "name one as --data" in fails("test", run)


def test_a_configuration_that_is_no_yaml_is_named(fails, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("model: [fastflow\n")
    assert "YAML" in fails("train", "-c", tmp_path / "mine.yaml")


def test_nothing_readable_is_said(fails, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/broken.png").write_bytes(b"")
    source = ["--input", tmp_path / "in", "--output", tmp_path / "out"]
    assert "broken.png" in fails("predict", trained, *source, "--loader.on_error=skip")


def test_calibration_on_training_images_is_refused(fails, trained: Path, tree: Path) -> None:
    assert "trained on" in fails("calibrate", trained, "--images", tree / "stripes/train/good")


def test_damaged_and_foreign_models_are_named(fails, trained: Path, tmp_path: Path) -> None:
    run = shutil.copytree(trained, tmp_path / "run")
    model = run / "model.safetensors"
    predict = ["predict", run, "--input", run, "--output", tmp_path / "out"]
    model.write_bytes(model.read_bytes()[:1000])
    assert str(model) in fails(*predict)
    foreign = FastFlow((64, 64), "test_efficientnet", weights="random").state_dict()
    save_file({name: tensor.contiguous() for name, tensor in foreign.items()}, model)
    assert str(model) in fails(*predict)
    model.unlink()
    assert str(model) in fails(*predict)
    assert not (tmp_path / "out").exists()


def test_an_output_that_cannot_be_written_is_named(fails, data, trained: Path, tree: Path, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("in the way")
    assert str(file) in fails("train", *SMALL, *data, f"--output={file}")
    assert str(file) in fails("predict", trained, "--input", tree, "--output", file)
    assert file.read_text() == "in the way"


def test_predict_says_when_there_are_no_images(fails, trained: Path, tmp_path: Path) -> None:
    for source in (tmp_path, tmp_path / "nothing.png", tmp_path / "*.png", tmp_path / "**.png"):
        assert str(source) in fails("predict", trained, "--input", source, "--output", tmp_path / "out")


def test_a_full_disk_leaves_no_half_written_file(data, output: Path) -> None:
    def limit_file_size() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))

    command = [sys.executable, "-m", "anomalib_flows.cli", "train", *SMALL, *data, f"--output={output}"]
    finished = subprocess.run(command, capture_output=True, text=True, preexec_fn=limit_file_size)
    assert finished.returncode == 2, finished.stderr
    assert "Traceback" not in finished.stderr
    assert "space" in finished.stderr
    assert not list(output.rglob("*.safetensors"))
    assert not list(output.rglob(".tmp-*"))


def test_a_hostile_checkpoint_runs_no_code(fails, trained: Path, tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self):
            return Path.touch, (tmp_path / "run-by-pickle",)

    run = shutil.copytree(trained, tmp_path / "run")
    torch.save({"state_dict": Hostile()}, run / "resume.ckpt")
    assert "resume.ckpt" in fails("train", "--resume", run, "--trainer.max_epochs=3")
    assert not (tmp_path / "run-by-pickle").exists()


def test_grey_levels_of_a_dark_camera_are_warned_of(data, output: Path, tmp_path: Path, capsys) -> None:
    for file in (tmp_path / "data").rglob("good/*.png"):
        dark = np.asarray(Image.open(file).convert("L")).astype(np.uint16)
        Image.fromarray(dark).save(file)
    shutil.rmtree(tmp_path / "data/stripes/test/blob")
    assert main(["train", *SMALL, *data, f"--output={output}"]) == 0
    assert "16 bits" in capsys.readouterr().err
