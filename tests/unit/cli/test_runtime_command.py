"""The runtime's command writes what ``predict`` writes, and says in one sentence what is wrong."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomalib_flows.cli import main as whole
from anomalib_flows.cli.runtime import main
from anomalib_flows.results.table import read_rows
from anomalib_flows.runtime import ExportedModel
from tiny_export import write


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in ("a/1.png", "a/2.jpg", "b/1.png"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(len(name)).integers(0, 256, (20, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / name)
    return tmp_path / "photos"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write(tmp_path / "model.xml")


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("pattern", ["", "*/*.png"])
@pytest.mark.parametrize("pictures", ["all", "anomalous", "none", "1"])
def test_it_writes_the_same_files_as_predict(photos, model, tmp_path, pattern: str, pictures: str) -> None:
    given = [str(model), "--input", str(photos / pattern), "--pictures", pictures, "--output"]
    assert main([*given, str(tmp_path / "small")]) == 0
    assert whole(["predict", *given, str(tmp_path / "whole")]) == 0
    expected = files(tmp_path / "whole")
    for name in ("prediction.json", "thumbnails.jsonl", "report.html"):
        del expected[name]
    assert files(tmp_path / "small") == expected


@pytest.mark.parametrize(("option", "value"), [("threshold", 0.05), ("threshold", 0.1), ("false_alarm_rate", 0.9)])
def test_thresholds_are_those_of_the_runtime(photos, model, tmp_path, option: str, value: float) -> None:
    for number in range(1, 10):
        Image.new("RGB", (30, 20), (10 * number,) * 3).save(photos / f"{number}.png")
    given = [str(model), "--input", str(photos / "?.png"), "--output", str(tmp_path / "out"), "--pictures", "none"]
    assert main([*given, f"--{option.replace('_', '-')}", str(value)]) == 0
    expected = [result.label for result in ExportedModel(model, **{option: value}).batch(sorted(photos.glob("?.png")))]
    assert [row["label"] == "anomalous" for row in read_rows(tmp_path / "out/predictions.csv")] == expected
    assert 0 < sum(expected) < 9


def test_damaged_photos_are_left_out_and_named(photos, model, tmp_path, capsys) -> None:
    (photos / "b/1.png").write_bytes(b"no image")
    given = [str(model), "--input", str(photos), "--output", str(tmp_path / "out")]
    assert main([*given, "--on-error", "skip"]) == 0
    said = capsys.readouterr().out
    assert "Left out: " in said
    assert "b/1.png is not an image that can be read: replace it." in said
    assert " of 2. Table and pictures: " in said


def test_rows_remain_after_an_error(photos, model, tmp_path, capsys) -> None:
    (photos / "b/1.png").write_bytes(b"no image")
    given = [str(model), "--input", str(photos), "--output", str(tmp_path / "out")]
    assert main(given) == 2
    rows = (tmp_path / "out/predictions.partial.csv").read_text().splitlines()
    assert len(rows) == 3
    assert not (tmp_path / "out/predictions.csv").exists()
    capsys.readouterr()
    assert main(given) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: --output ")
    assert "holds an unfinished prediction: continue it with --resume, or name another folder." in said
    assert main([*given, "--resume", "--pictures", "none"]) == 2
    assert "was begun with --pictures all: repeat that command, or name another folder." in capsys.readouterr().err
    assert main([*given, "--resume", "--on-error", "skip"]) == 0
    assert main([*given[:-1], str(tmp_path / "whole"), "--on-error", "skip"]) == 0
    assert files(tmp_path / "out") == files(tmp_path / "whole")
    assert main([*given, "--resume"]) == 2
    assert "already holds predictions that are complete: name another folder." in capsys.readouterr().err


def test_a_prediction_of_another_command_is_not_gone_on_with(photos, model, tmp_path, capsys) -> None:
    (photos / "b/1.png").write_bytes(b"no image")
    given = [str(model), "--input", str(photos), "--output", str(tmp_path / "out")]
    assert whole(["predict", *given]) == 2
    assert main([*given, "--resume"]) == 2
    assert "was begun with another command: repeat that command" in capsys.readouterr().err


def test_without_a_readable_photo_there_is_no_folder(photos, model, tmp_path, capsys) -> None:
    for photo in photos.rglob("*.*"):
        photo.write_bytes(b"no image")
    given = [str(model), "--input", str(photos), "--output", str(tmp_path / "out"), "--on-error=skip"]
    assert main(given) == 2
    assert "error: None of 3 images can be read. " in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--threshold", "2"], "--threshold"),
        (["--threshold", "0.4", "--false-alarm-rate", "0.1"], "--false-alarm-rate"),
        (["--requests", "0"], "--requests"),
        (["--max-megapixels", "0"], "--max-megapixels"),
        (["--device", "TPU"], "TPU is not available: choose one of CPU"),
        (["--input", "nowhere"], "nowhere does not exist: give an image, a folder, a pattern"),
        (["--save", "all"], "all is not of heatmap, overlay, mask, maps"),
        (["--pictures", "few"], "few is not all, anomalous, none or a number"),
        (["--treshold", "0.6"], "unrecognized arguments: --treshold 0.6"),
    ],
)
def test_a_wrong_option_is_one_sentence(photos, model, tmp_path, capsys, options: list[str], said: str) -> None:
    given = [str(model), "--input", str(photos), "--output", str(tmp_path / "out"), *options]
    try:
        code = main(given)
    except SystemExit as end:  # of argparse
        code = end.code
    assert code == 2
    [error] = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("warning")]
    assert said in error
    assert not (tmp_path / "out").exists()
