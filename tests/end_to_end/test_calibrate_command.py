"""Thresholds by hand and by known defects, and what every other command says of them."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
import yaml
from tiny import SMALL, draw

from anomalib_flows.cli.app import main
from anomalib_flows.models.checkpoint import load_pipeline
from anomalib_flows.runtime import ExportedModel

pytestmark = pytest.mark.filterwarnings("always")  # the command line prints them


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of a run, to be changed."""
    return Path(shutil.copytree(trained, tmp_path / "run-001"))


@pytest.fixture(scope="module")
def defects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of defects that are not among the test images, of two kinds."""
    folder = tmp_path_factory.mktemp("defects")
    for number in range(4):
        (folder / ("blob", "stain")[number % 2]).mkdir(exist_ok=True)
        draw(400 + number, blob=True)[0].save(folder / ("blob", "stain")[number % 2] / f"{number}.png")
    return folder


def splits(run: Path) -> list[dict[str, str]]:
    with (run / "splits.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def config(run: Path) -> dict:
    return yaml.safe_load((run / "config.yaml").read_text())


def test_a_threshold_by_hand_promises_nothing_anywhere(run: Path, tree: Path, tmp_path: Path, capsys) -> None:
    post = load_pipeline(run / "model.safetensors").postprocess
    zero, before = float(post.typical_score), float(post.image_threshold)
    capsys.readouterr()
    assert main(["calibrate", str(run), "--threshold=0.6", "--pixel-threshold=0.7"]) == 0
    said = capsys.readouterr()
    assert "no rate is promised, as the threshold was set by hand. Above it are 0 of 1 calibration images" in said.out
    assert "no rate is promised for masks, as it was set by hand" in said.out
    assert "Too few" not in said.err
    moved = load_pipeline(run / "model.safetensors")
    assert float(moved.postprocess.image_threshold) == pytest.approx(zero + 1.2 * (before - zero), rel=1e-5)
    assert moved.threshold_source == "hand"
    assert (config(run)["threshold"], config(run)["pixel_threshold"]) == pytest.approx((0.6, 0.7), rel=1e-5)

    assert main(["test", str(run)]) == 0
    assert "no rate is promised, as the threshold was set by hand" in capsys.readouterr().out
    metrics = json.loads((run / "metrics.json").read_text())
    assert (metrics["threshold_source"], metrics["promised_false_alarm_rate"]) == ("hand", None)

    photos = str(tree / "stripes/test/good")
    assert main(["export", str(run), f"--output={tmp_path / 'exported'}", "--precision=fp32"]) == 0
    model = tmp_path / "exported/model.xml"
    assert ExportedModel(model).card.threshold_source == "hand"
    capsys.readouterr()
    for number, named in enumerate((run, model)):
        assert main(["predict", str(named), f"--input={photos}", f"--output={tmp_path / str(number)}"]) == 0
        said = capsys.readouterr()
        assert "Labels: no rate is promised, as the threshold was set by hand." in said.out
        assert "Too few" not in said.err

    assert main(["calibrate", str(run)]) == 0  # back to the rate
    again = load_pipeline(run / "model.safetensors")
    assert float(again.postprocess.image_threshold) == before
    assert (again.threshold_source, config(run)["threshold"], config(run)["pixel_threshold"]) == (
        "false-alarm-rate",
        None,
        None,
    )


def test_a_recorded_threshold_trains_alike(train) -> None:
    run = train("--trainer.max_epochs=1", "--threshold=0.6", "--decision.mask_area=0.5")
    pipeline = load_pipeline(run / "model.safetensors")
    post = pipeline.postprocess
    assert pipeline.threshold_source == "hand"
    assert float(post.normalise_scores(post.image_threshold[None])) == 0.5
    assert float(post.pixel_threshold) == float(post.calibration_levels(0.5).max())
    zero, highest = float(post.typical_score), float(post.calibration_scores[-1])
    assert float(post.image_threshold) == pytest.approx(zero + 1.2 * (highest - zero), rel=1e-5)


def test_masks_get_another_area_without_images(run: Path) -> None:
    post = load_pipeline(run / "model.safetensors").postprocess
    assert main(["calibrate", str(run), "--decision.mask_area=0.5"]) == 0
    changed = load_pipeline(run / "model.safetensors").postprocess
    assert float(changed.image_threshold) == float(post.image_threshold)
    assert float(changed.pixel_threshold) == float(post.calibration_levels(0.5)[-1]) < float(post.pixel_threshold)
    assert config(run)["decision"] == {"mask_area": 0.5}


def test_defects_set_the_threshold_and_leave_the_test(run: Path, defects: Path, tree: Path, capsys) -> None:
    known = tree / "stripes/test/blob"
    capsys.readouterr()
    assert main(["calibrate", str(run), f"--defects={known}", "--max-missed=1"]) == 0
    said = capsys.readouterr()
    assert "misses 1 of the 3 known defects. New ones like these are missed with at most 50 % chance" in said.out
    assert "no rate is promised, as photos of defects set the threshold" in said.out
    assert "The 3 photos of --defects set the threshold, so they cannot test it" in said.err
    recorded = {row["path"]: row for row in splits(run)}
    assert {recorded[str(path)]["split"] for path in known.iterdir()} == {"threshold"}
    assert main(["test", str(run)]) == 0
    assert "Missed: unknown without defective images" in capsys.readouterr().out

    assert main(["calibrate", str(run), f"--defects={defects}"]) == 0
    pipeline = load_pipeline(run / "model.safetensors")
    assert pipeline.threshold_source == "defects"
    assert {row["defect"] for row in splits(run) if row["split"] == "threshold"} == {"blob", "stain"}
    assert main(["predict", str(run), f"--input={defects}", f"--output={run / 'predicted'}"]) == 0
    with (run / "predicted/predictions.csv").open(newline="") as stream:
        assert {row["label"] for row in csv.DictReader(stream)} == {"anomalous"}

    assert main(["calibrate", str(run), "--threshold=0.4"]) == 0  # it still depends on them
    assert sum(row["split"] == "threshold" for row in splits(run)) == 4
    assert main(["calibrate", str(run)]) == 0
    assert not any(row["split"] == "threshold" for row in splits(run))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--threshold=1"],
            "--threshold cannot be 1.0: it must be above 0 and below 1, where scores and maps are clipped",
        ),
        (["--threshold=0"], "--threshold cannot be 0.0: it must be above 0 and below 1"),
        (["--pixel-threshold=1.5"], "--pixel-threshold cannot be 1.5: it must be above 0 and below 1"),
        (
            ["--threshold=0.6", "--false-alarm-rate=0.3"],
            "--threshold and another --false-alarm-rate both set thresholds: give one of them",
        ),
        (
            ["--pixel-threshold=0.6", "--false-alarm-rate=0.3"],
            "--pixel-threshold and another --false-alarm-rate both set thresholds: give one of them",
        ),
        (["--threshold=0.6", "--defects=DEFECTS"], "--threshold and --defects both set the image threshold"),
        (["--max-missed=1"], "--max-missed counts photos of defects: name a folder of them as --defects"),
        (["--defects=DEFECTS", "--max-missed=4"], "--max-missed 4 lets all 4 photos of --defects be missed"),
        (["--defects=DEFECTS", "--max-missed=-1"], "--max-missed cannot be -1: it must be at least 0"),
        (["--defects=nowhere"], "--defects nowhere is not a folder"),
        (["--defects=GOOD"], "images that the run lists as good, such as"),
        (["--decision.mask_area=3"], "--decision.mask_area cannot be 3.0: it must be one of 0, 0.01"),
    ],
)
def test_what_makes_no_threshold_is_refused(
    run: Path, tree: Path, defects: Path, tmp_path: Path, capsys, options, message
) -> None:
    before = {name: (run / name).read_bytes() for name in ("config.yaml", "model.safetensors", "splits.csv")}
    shutil.copytree(tree / "stripes/train/good", tmp_path / "found")
    named = [one.replace("DEFECTS", str(defects)).replace("GOOD", str(tmp_path / "found")) for one in options]
    assert main(["calibrate", str(run), *named]) == 2
    assert message in capsys.readouterr().err
    assert {name: (run / name).read_bytes() for name in before} == before


def test_good_photos_alone_are_a_test(tree: Path, tmp_path: Path, capsys) -> None:
    good = tree / "stripes/train/good"
    options = [*SMALL, "--data=folder", f"--data.normal={good}", f"--output={tmp_path}", "--trainer.max_epochs=1"]
    assert main(["train", *options]) == 0
    run = tmp_path / "fastflow/folder/good/run-001"
    capsys.readouterr()
    assert main(["test", str(run), f"--data.normal_test={tree / 'stripes/test/good'}"]) == 0
    said = capsys.readouterr().out
    assert "of 3 good images (" in said
    assert "promised: 50 %" in said
    assert "Missed: unknown without defective images" in said
    metrics = json.loads((run / "metrics.json").read_text())
    assert (metrics["errors"]["false_alarms"]["of"], metrics["errors"]["missed"]["of"]) == (3, 0)
    assert metrics["image"]["auroc"] is None


def test_test_images_that_set_thresholds_are_named_at_once(run: Path, tree: Path, caplog) -> None:
    assert main(["calibrate", str(run), f"--images={tree / 'stripes/test/good'}"]) == 0
    assert "3 test images of the run set its thresholds now: tests leave them out." in caplog.text
