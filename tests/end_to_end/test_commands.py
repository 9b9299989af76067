"""The commands, as a user types them."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.numpy import load_file
from sklearn.metrics import auc
from tiny import SMALL, draw

from anomalib_flows import FastFlow, load, read_image
from anomalib_flows.cli import main
from anomalib_flows.cli.app import find_commands

pytestmark = pytest.mark.filterwarnings("always")  # the command line prints them

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "anomalib_flows.cli"]


def rows(table: Path) -> list[dict[str, str]]:
    with table.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_every_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    for command in find_commands():
        with pytest.raises(SystemExit) as stopped:
            main([*command.split(), "--help"])
        assert stopped.value.code == 0
        assert f"anomalib-flows {command}" in capsys.readouterr().out


def test_a_models_options_are_in_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--model.help", "fastflow"])
    shown = capsys.readouterr().out
    for option in ("backbone", "weights", "steps", "hidden_ratio", "kernel_sizes", "clamp", "norm"):
        assert f"--model.{option}" in shown


def figures_of(run: Path) -> set[str]:
    return {file.relative_to(run / "images").as_posix() for file in (run / "images").rglob("*.jpg")}


def test_train_writes_a_whole_run(trained: Path) -> None:
    results = "metrics.json predictions.csv losses.csv curves.json thumbnails.jsonl"
    expected = f"config.yaml model.safetensors splits.csv versions.json resume.ckpt {results}"
    assert set(expected.split()) <= {file.name for file in trained.iterdir()}
    assert not list(trained.rglob(".tmp-*"))
    metrics = json.loads((trained / "metrics.json").read_text())
    for level, keys in {"image": ["auroc", "f1", "f1_max"], "pixel": ["auroc", "f1", "aupro"]}.items():
        assert all(0 <= metrics[level][key] <= 1 for key in keys)
        assert metrics["defects"]["blob"][level]["auroc"] is not None
    assert figures_of(trained) == {f"{kind}/{i}.jpg" for kind in ("good", "blob") for i in range(3)}
    assert len((trained / "logs/metrics.csv").read_text().splitlines()) == 1 + 2 * 3  # 2 epochs of 3 steps


def test_the_files_of_a_test_agree(trained: Path) -> None:
    metrics, curves = (json.loads((trained / name).read_text()) for name in ("metrics.json", "curves.json"))
    table, scale = rows(trained / "predictions.csv"), metrics["image_scale"]
    outcomes = Counter(row["outcome"] for row in table)
    errors = metrics["errors"]
    assert (outcomes["false alarm"], outcomes["missed"]) == tuple(
        errors[kind]["count"] for kind in ("false_alarms", "missed")
    )
    assert Counter(row["defect"] for row in table) == {"good": 3, "blob": 3}
    for row in table:
        normalised = 0.5 * (float(row["raw_score"]) - scale["typical"]) / (scale["threshold"] - scale["typical"])
        assert float(row["score"]) == pytest.approx(min(max(normalised, 0), 1), abs=1e-4)
        assert (row["label"] == "anomalous") == (float(row["raw_score"]) > np.float32(scale["threshold"]))
    lines = (trained / "thumbnails.jsonl").read_text().splitlines()
    assert [json.loads(line)["path"] for line in lines] == [row["path"] for row in table]
    for level in ("image", "pixel"):
        assert auc(*np.transpose(curves[level]["roc"])) == pytest.approx(metrics[level]["auroc"], abs=0.01)


def test_maps_are_those_of_the_model(trained: Path, tree: Path, tmp_path: Path) -> None:
    photo = tree / "stripes/test/blob/0.png"
    assert main(["predict", str(trained), f"--input={photo}", f"--output={tmp_path}", "--save=maps"]) == 0
    prediction = load(trained / "model.safetensors")(read_image(photo)[None])
    values = np.load(tmp_path / "maps/0.npy", allow_pickle=False)
    np.testing.assert_allclose(values, prediction.maps[0, 0].numpy(), atol=1e-5)
    threshold = json.loads((tmp_path / "prediction.json").read_text())["map_scale"]["threshold"]
    assert ((values > threshold) == prediction.masks[0, 0].numpy()).mean() > 0.999


def test_splits_are_disjoint_and_calibration_is_not_trained_on(trained: Path) -> None:
    splits = rows(trained / "splits.csv")
    assert len({row["path"] for row in splits}) == len(splits) == 14
    assert [sum(row["split"] == s for row in splits) for s in ("train", "calibration", "test")] == [7, 1, 6]
    assert all(row["label"] == "0" for row in splits if row["split"] != "test")


def test_the_saved_configuration_makes_the_same_run(trained: Path, tmp_path: Path) -> None:
    assert main(["train", "-c", str(trained / "config.yaml"), f"--output={tmp_path}"]) == 0
    again = tmp_path / "fastflow/mvtec/stripes/run-001"
    for name in ("metrics.json", "predictions.csv", "model.safetensors"):
        assert (again / name).read_bytes() == (trained / name).read_bytes()


def test_another_seed_makes_another_run(train, trained: Path) -> None:
    other = train("--trainer.max_epochs=2", "--seed=1")
    assert (other / "predictions.csv").read_bytes() != (trained / "predictions.csv").read_bytes()


def test_a_resumed_run_ends_as_if_never_stopped(train, trained: Path) -> None:
    run = train("--trainer.max_epochs=1")
    assert main(["train", "--resume", str(run), "--trainer.max_epochs=2"]) == 0
    for name in ("metrics.json", "predictions.csv", "model.safetensors", "losses.csv"):
        assert (run / name).read_bytes() == (trained / name).read_bytes()


def test_interrupt_leaves_a_state_to_resume_and_to_use(tree: Path, tmp_path: Path) -> None:
    data = ["--data=mvtec", f"--data.root={tree}", "--data.category=stripes", f"--output={tmp_path}"]
    process = subprocess.Popen(
        [*COMMAND, "train", *SMALL, *data, "--trainer.max_epochs=100000"], stderr=subprocess.PIPE, text=True
    )
    run = tmp_path / "fastflow/mvtec/stripes/run-001"
    deadline = time.monotonic() + 120
    while not (run / "logs").is_dir() and time.monotonic() < deadline:
        time.sleep(0.2)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert f"train --resume {run}" in errors
    assert "Traceback" not in errors
    assert main(["calibrate", str(run)]) == 0
    assert main(["predict", str(run), "--input", str(tree), "--output", str(tmp_path / "out")]) == 0
    trainer = yaml.safe_load((run / "config.yaml").read_text())["trainer"]
    assert trainer["max_epochs"] == 100000


def test_the_same_script_as_the_fields_readmes(tree: Path) -> None:
    arguments = ["--model", "fastflow", "--data", "mvtec", f"--data.root={tree}", "--data.category=stripes"]
    script = [sys.executable, str(ROOT / "tools/train.py"), *arguments, "--print_config"]
    command = [*COMMAND, "train", *arguments, "--print_config"]
    printed = [subprocess.run(c, capture_output=True, text=True, check=True).stdout for c in (script, command)]
    assert printed[0] == printed[1]
    assert yaml.safe_load(printed[0])["model"]["init_args"]["steps"] == 4


@pytest.mark.parametrize("name", ["FastFlow", "anomalib_flows.models.fastflow.FastFlow", "fastflow"])
def test_models_go_by_registered_name_class_name_and_path(name: str, tree: Path, capsys) -> None:
    data = ["--data", "MVTec", f"--data.root={tree}", "--data.category=stripes"]
    with pytest.raises(SystemExit):
        main(["train", "--model", name, "--model.steps", "3", *data, "--print_config"])
    model = yaml.safe_load(capsys.readouterr().out)["model"]
    assert model["class_path"] == "fastflow"
    assert model["init_args"]["steps"] == 3


def test_test_gives_the_same_figures_again(trained: Path, tmp_path: Path) -> None:
    run = shutil.copytree(trained, tmp_path / "run")
    (run / "metrics.json").unlink()
    shutil.rmtree(run / "images")
    assert main(["test", str(run)]) == 0
    assert (run / "metrics.json").read_bytes() == (trained / "metrics.json").read_bytes()
    assert len(list((run / "images").rglob("*.jpg"))) == 6


def test_as_many_figures_are_drawn_as_asked_for(train, trained: Path, tmp_path: Path) -> None:
    run = train("--trainer.max_epochs=2", "--pictures=2")
    assert figures_of(run) == {"good/0.jpg", "blob/0.jpg"}
    for name in ("metrics.json", "predictions.csv"):
        assert (run / name).read_bytes() == (trained / name).read_bytes()
    assert main(["test", str(run)]) == 0
    assert len(figures_of(run)) == 2  # as in training
    assert main(["test", str(run), "--pictures=0"]) == 0
    assert not (run / "images").exists()


def test_runs_that_know_no_number_of_figures_are_tested_and_resumed(train, trained: Path) -> None:
    run = train("--trainer.max_epochs=1", "--pictures=1")
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config.pop("pictures") == 1
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    assert main(["test", str(run)]) == 0
    assert figures_of(run) == figures_of(trained)
    assert main(["train", "--resume", str(run), "--trainer.max_epochs=2", "--pictures=3"]) == 0
    assert len(figures_of(run)) == 3
    assert (run / "metrics.json").read_bytes() == (trained / "metrics.json").read_bytes()


def test_training_says_how_many_images_serve_for_what(train, capsys: pytest.CaptureFixture[str]) -> None:
    train("--trainer.max_epochs=1", "--pictures=0")
    assert "Images: 7 train, 1 calibration, 6 test.\n" in capsys.readouterr().out


def test_predict_keeps_sub_folders_and_agrees_with_test(trained: Path, tree: Path, tmp_path: Path) -> None:
    source, output = tree / "stripes/test", tmp_path / "out"
    assert main(["predict", str(trained), "--input", str(source), "--output", str(output)]) == 0
    for kind in ("heatmap", "overlay", "mask"):
        names = {file.relative_to(output / kind).as_posix() for file in (output / kind).rglob("*.png")}
        assert names == {f"{defect}/{i}.png" for defect in ("good", "blob") for i in range(3)}
        assert Image.open(output / kind / "blob/0.png").size == (72, 64)
    tested = {row["path"]: row for row in rows(trained / "predictions.csv")}
    predicted = rows(output / "predictions.csv")
    assert len(predicted) == 6
    for row in predicted:
        assert row["label"] == tested[row["path"]]["label"]
        for column in ("score", "raw_score"):
            assert float(row[column]) == pytest.approx(float(tested[row["path"]][column]), abs=1e-5)


@pytest.mark.parametrize(("pattern", "count"), [("blob/1.png", 1), ("*/1.png", 2), ("**/*.png", 6)])
def test_predict_takes_files_and_patterns(pattern: str, count: int, trained: Path, tree: Path, tmp_path: Path) -> None:
    source = tree / "stripes/test" / pattern
    assert main(["predict", str(trained), "--input", str(source), "--output", str(tmp_path)]) == 0
    assert len(rows(tmp_path / "predictions.csv")) == count
    assert len(list((tmp_path / "overlay").rglob("*.png"))) == count


def test_predict_reads_what_cameras_and_scanners_write(trained: Path, tree: Path, tmp_path: Path) -> None:
    image = Image.open(tree / "stripes/test/blob/0.png")
    folder = tmp_path / "in"
    folder.mkdir()
    grey16 = np.asarray(image.convert("L")).astype(np.uint16) * 257
    Image.fromarray(grey16).save(folder / "grey16.png")
    for name, converted in {
        "grey.PNG": image.convert("L"),
        "palette.png": image.convert("P"),
        "alpha.png": image.convert("RGBA"),
        "print.jpg": image.convert("CMYK"),
        "huge.tif": image.resize((700, 500)),
    }.items():
        converted.save(folder / name)
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(folder / "turned.jpg", exif=exif)
    assert main(["predict", str(trained), "--input", str(folder), "--output", str(tmp_path / "out")]) == 0
    table = {Path(row["path"]).name: float(row["raw_score"]) for row in rows(tmp_path / "out/predictions.csv")}
    assert len(table) == 7
    assert table["grey16.png"] == pytest.approx(table["grey.PNG"], abs=1e-6)
    assert Image.open(tmp_path / "out/overlay/turned.png").size == (64, 72)


def test_calibrate_changes_thresholds_and_nothing_else(train, trained: Path, tmp_path: Path) -> None:
    run = shutil.copytree(trained, tmp_path / "run")
    images = tmp_path / "more"
    images.mkdir()
    for row in rows(run / "splits.csv"):
        if row["split"] == "calibration":
            shutil.copy(row["path"], images)
    for i in range(7):
        draw(500 + i)[0].save(images / f"new {i}.png")
    assert main(["calibrate", str(run), "--images", str(images), "--false-alarm-rate", "0.5"]) == 0
    before, after = load_file(trained / "model.safetensors"), load_file(run / "model.safetensors")
    changed = {
        name for name in before if before[name].shape != after[name].shape or (before[name] != after[name]).any()
    }
    calibration = ("calibration_scores", "calibration_maxima", "calibration_tops")
    assert changed <= {f"postprocess.{n}" for n in ("image_threshold", "pixel_threshold", "typical", *calibration)}
    scores = np.sort(after["postprocess.calibration_scores"])
    assert after["postprocess.image_threshold"] == scores[-4]  # 8 images: floor(0.5 * 9) = 4
    assert main(["calibrate", str(run), "--false-alarm-rate=0.25"]) == 0
    assert load_file(run / "model.safetensors")["postprocess.image_threshold"] == scores[-2]


def test_an_images_score_does_not_depend_on_its_batch(trained: Path, tree: Path, tmp_path: Path) -> None:
    for size in (1, 6):
        output = str(tmp_path / str(size))
        source = ["--input", str(tree / "stripes/test"), "--output", output]
        assert main(["predict", str(trained), *source, f"--loader.batch_size={size}"]) == 0
    alone, together = (rows(tmp_path / size / "predictions.csv") for size in ("1", "6"))
    for one, other in zip(alone, together, strict=True):
        assert float(one["raw_score"]) == pytest.approx(float(other["raw_score"]), rel=1e-5)


def test_padding_is_neither_scored_nor_shown(train, tree: Path, tmp_path: Path) -> None:
    run = train("--image.resize=pad", "--image.size=64,160", "--trainer.max_epochs=1", "--heatmap.top_percent=0")
    assert main(["predict", str(run), "--input", str(tree / "stripes/test/blob/0.png"), "--output", str(tmp_path)]) == 0
    pipeline = load(run / "model.safetensors")
    image = read_image(tree / "stripes/test/blob/0.png")[None]
    with torch.no_grad():
        raw = pipeline.maps(pipeline.preprocess.resize(image))
        prediction = pipeline(image)
    assert raw.shape == (1, 2, 64, 160)  # the image takes 64 x 72 of it
    assert float(prediction.scores) == float(raw[:, 1, :, :72].max())
    assert (raw[..., 72:].amax((2, 3)) != prediction.maps[..., 72:].amax((2, 3))).all()
    [row] = rows(tmp_path / "predictions.csv")
    assert float(row["raw_score"]) == pytest.approx(float(prediction.scores), abs=1e-6)
    shown = Image.fromarray(pipeline.postprocess.normalise(prediction.maps)[0, 0, :, :72].numpy() >= 0.5)
    drawn = Image.open(tmp_path / "mask/0.png").convert("1")
    assert drawn.size == shown.size == (72, 64)
    assert np.mean(np.asarray(drawn) != np.asarray(shown)) < 0.01


@pytest.mark.parametrize("option", ["--image.size=96", "--image.resize=pad"])
def test_size_and_resizing_are_the_models(trained: Path, tree: Path, tmp_path: Path, capsys, option: str) -> None:
    source = ["--input", str(tree / "stripes/test/blob/0.png"), "--output", str(tmp_path / "out")]
    assert main(["predict", str(trained), *source, option]) == 2
    assert f"There is no option {option.partition('=')[0]}" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_run_may_stand_after_options(trained: Path, tree: Path, tmp_path: Path) -> None:
    assert main(["predict", "--input", str(tree), "--output", str(tmp_path / "out"), str(trained)]) == 0


def test_predictions_are_not_mixed_with_earlier_ones(trained: Path, tree: Path, tmp_path: Path) -> None:
    command = ["predict", str(trained), "--input", str(tree / "stripes/test/good"), "--output", str(tmp_path / "new")]
    assert main(command) == 0
    before = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")}
    assert main(command) == 2
    (tmp_path / "new/predictions.csv").unlink()  # as if it had been interrupted
    assert main(command) == 2
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.png")}.items() <= before.items()


def test_test_leaves_out_what_was_trained_on(tree: Path, tmp_path: Path) -> None:
    """More photos in a folder change which of them are drawn for testing."""
    good = shutil.copytree(tree / "stripes/train/good", tmp_path / "good")
    data = ["--data=folder", f"--data.normal={good}", f"--data.abnormal={tree / 'stripes/test/blob'}"]
    assert main(["train", *SMALL, *data, "--trainer.max_epochs=1", f"--output={tmp_path}"]) == 0
    [run] = tmp_path.rglob("run-001")
    used = {row["path"] for row in rows(run / "splits.csv") if row["split"] != "test"}
    for i in range(20):
        draw(300 + i)[0].save(good / f"new{i}.png")
    assert main(["test", str(run)]) == 0
    tested = {row["path"] for row in rows(run / "predictions.csv")}
    assert not used & tested
    assert len(list((run / "images").rglob("*.jpg"))) == len(tested)


def test_a_folder_of_good_images_is_enough(tree: Path, tmp_path: Path, capsys) -> None:
    data = ["--data=folder", f"--data.normal={tree / 'stripes/train/good'}"]
    assert main(["train", *SMALL, *data, "--trainer.max_epochs=1", f"--output={tmp_path}"]) == 0
    assert "nothing was tested" in capsys.readouterr().out
    [run] = tmp_path.rglob("run-001")
    assert not (run / "metrics.json").exists()


def test_mixed_precision_trains(train) -> None:
    run = train("--trainer.precision=bf16-mixed", "--trainer.max_epochs=1")
    weights = load_file(run / "model.safetensors")
    assert all(w.dtype in (np.float32, np.int64) and np.isfinite(w).all() for w in weights.values())


def test_list_names_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "models"]) == 0
    assert "fastflow" in capsys.readouterr().out
    assert main(["list", "datasets"]) == 0
    listed = re.findall(r"^\w+", capsys.readouterr().out, re.MULTILINE)
    assert listed == sorted(listed)
    assert {"cifar10", "folder", "mvtec", "stc", "synthetic", "visa"} <= set(listed)
    assert main(["list", "backbones", "--filter", "resnet18"]) == 0
    assert "resnet18\n" in capsys.readouterr().out


def test_output_can_be_piped_into_a_program_that_stops_reading() -> None:
    command = f"{sys.executable} -m anomalib_flows.cli list backbones | head -1"
    finished = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=os.environ)
    assert finished.returncode == 0
    assert "Traceback" not in finished.stderr


class Interrupted(FastFlow):
    """FastFlow whose user presses Ctrl-C in its fourth step, which is the first of the second epoch."""

    steps_done = 0

    def loss(self, batch: list[torch.Tensor]) -> torch.Tensor:
        type(self).steps_done += 1
        if self.steps_done == 4:
            signal.raise_signal(signal.SIGINT)
        return super().loss(batch)


def test_an_interrupted_run_ends_as_if_never_stopped(train, tree: Path, tmp_path: Path, capsys) -> None:
    schedule = "--model.schedule=cosine"
    whole = train("--trainer.max_epochs=2", schedule)
    model = [*(o.replace("=fastflow", f"={__name__}.Interrupted") for o in SMALL), schedule]
    data = ["--data=mvtec", f"--data.root={tree}", "--data.category=stripes", f"--output={tmp_path}"]
    assert main(["train", *model, *data, "--trainer.max_epochs=2"]) == 130
    [run] = tmp_path.rglob("run-001")
    assert f"train --resume {run}" in capsys.readouterr().err
    assert len((run / "logs/metrics.csv").read_text().splitlines()) == 1 + 4  # it stopped within the epoch
    assert main(["train", "--resume", str(run)]) == 0
    for name in ("metrics.json", "predictions.csv"):
        assert (run / name).read_bytes() == (whole / name).read_bytes()


def test_a_run_of_awkward_names_is_tested_resumed_and_used(tree: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tree / "stripes/train/good", "2024-01-05")
    shutil.copytree(tree / "stripes/test/good", "null")
    shutil.copytree(tree / "stripes/test/blob", "a: b")
    data = ["--data", "folder", "--data.normal", "2024-01-05", "--output", "1e3"]
    assert main(["train", *SMALL, *data, "--trainer.max_epochs=1"]) == 0
    (run,) = Path("1e3").glob("*/folder/2024-01-05/run-001")
    assert main(["train", "--resume", str(run), "--trainer.max_epochs=2"]) == 0
    capsys.readouterr()
    assert main(["test", str(run), "--data.abnormal", "a: b"]) == 0
    assert "Give some as --data.normal_test" in capsys.readouterr().out
    assert main(["test", str(run), "--data.abnormal", "a: b", "--data.normal_test", "null"]) == 0
    assert "Images: normal: 3, anomalous: 3." in capsys.readouterr().out
    assert main(["predict", str(run), "--input", "a: b", "--output", "~"]) == 0
    assert len(list(Path("~/heatmap").glob("*.png"))) == 3


def test_a_video_on_a_run_is_answered_with_the_command(trained: Path, tmp_path: Path, capsys) -> None:
    assert main(["predict", str(trained), "--input", "line.MP4", "--output", str(tmp_path / "out")]) == 2
    assert f"Type: anomalib-flows export {trained}" in capsys.readouterr().err
    (tmp_path / "line.mp4").touch()
    assert main(["train", *SMALL, "--data=folder", f"--data.normal={tmp_path / 'line.mp4'}"]) == 2
    assert "is a video: give a folder of its frames" in capsys.readouterr().err
