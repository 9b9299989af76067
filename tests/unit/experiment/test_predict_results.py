"""What a prediction finds and writes, whichever model predicts; what was written before an error is kept."""

import csv
import errno
import json
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.finding import OWN
from anomalib_flows.core.types import ImageResult, Sample
from anomalib_flows.data.checks.scale import InputScale
from anomalib_flows.experiment import predict as module
from anomalib_flows.experiment.options import PredictOptions
from anomalib_flows.experiment.predict import Predictions, find_samples, frame_name, named, predict, require_new
from anomalib_flows.run.directory import Run

KINDS = ("heatmap", "mask", "overlay")
FILES = {"predictions.csv", "prediction.json", "thumbnails.jsonl", "report.html"}
FACTS = {
    "protocol": "calibrated",
    "threshold_source": "hand",
    "promised_false_alarm_rate": None,
    "image_scale": {"typical": 0.0, "threshold": 1.0},
}


def result_of(sample: Sample, label: int = 1) -> ImageResult:
    shown = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)
    picture = np.full((6, 8, 3), 90, np.uint8)
    return ImageResult(
        score=0.7,
        label=label,
        p_value=0.1,
        raw_score=2.5,
        anomaly_map=shown,
        mask=shown > 0.5,
        picture=picture,
        sample=sample,
    )


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in ("10.png", "2.png", "sub/2.png", "sub/2.bmp"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 6)).save(tmp_path / "photos" / name)
    return tmp_path / "photos"


def files_in(folder: Path) -> set[str]:
    return {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file() and file.name != OWN}


def predicted(monkeypatch: pytest.MonkeyPatch, photos: Path, output: Path, fail_at: int | None = None):
    """Predict every second image as anomalous, until one fails."""
    closed: list[bool] = []

    def start(model: Path, options: PredictOptions, trust: bool = False) -> Predictions:
        samples, names = find_samples(options.input)

        def results() -> Iterator[ImageResult]:
            for i, sample in enumerate(samples):
                if i == fail_at:
                    raise KeyboardInterrupt
                yield result_of(sample, i % 2)

            closed.append(True)

        return Predictions(results(), named(names), InputScale((64, 64), "stretch"), FACTS)

    monkeypatch.setattr(module, "predict_run", start)
    summary = predict(Path("run-001"), PredictOptions(input=str(photos), output=output))
    assert closed == [True]
    return summary


def rows(output: Path) -> list[dict[str, str]]:
    with (output / "predictions.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_row_and_three_pictures_of_each_image(photos, tmp_path, monkeypatch) -> None:
    summary = predicted(monkeypatch, photos, tmp_path / "out")
    assert (summary.table, summary.anomalous, summary.total) == (tmp_path / "out/predictions.csv", 2, 4)
    assert [row["path"] for row in rows(tmp_path / "out")] == [
        str(photos / name) for name in ("2.png", "10.png", "sub/2.bmp", "sub/2.png")
    ]
    names = ["2.png", "10.png", "sub/2.bmp.png", "sub/2.png.png"]
    assert files_in(tmp_path / "out") == FILES | {f"{kind}/{name}" for kind in KINDS for name in names}


def test_what_was_predicted_before_an_interrupt_is_kept(photos, tmp_path, monkeypatch) -> None:
    with pytest.raises(KeyboardInterrupt):
        predicted(monkeypatch, photos, tmp_path / "out", fail_at=2)
    assert [row["label"] for row in rows(tmp_path / "out")] == ["normal", "anomalous"]
    assert files_in(tmp_path / "out") == FILES | {f"{kind}/{name}" for kind in KINDS for name in ("2.png", "10.png")}


def test_what_fails_at_once_leaves_no_folder(photos, tmp_path, monkeypatch) -> None:
    with pytest.raises(KeyboardInterrupt):
        predicted(monkeypatch, photos, tmp_path / "out", fail_at=0)
    assert not (tmp_path / "out").exists()


def test_facts_and_thumbnails_are_of_the_images_in_the_table(photos, tmp_path, monkeypatch) -> None:
    for fail_at, count in ((None, 4), (3, 3)):
        output = tmp_path / f"out {count}"
        with pytest.raises(KeyboardInterrupt) if fail_at else nullcontext():
            predicted(monkeypatch, photos, output, fail_at)
        facts = json.loads((output / "prediction.json").read_text())
        assert facts == FACTS | {"images": count, "anomalous": count // 2}
        thumbnails = [json.loads(line) for line in (output / "thumbnails.jsonl").read_text().splitlines()]
        assert [one["path"] for one in thumbnails] == [row["path"] for row in rows(output)]
        assert len(thumbnails) == count


@pytest.mark.parametrize("fail_at", [None, 3])
def test_a_full_disk_at_the_end_hides_neither_the_last_line_nor_the_first_error(
    photos, tmp_path, monkeypatch, caplog, fail_at: int | None
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Run, "write_json", full)
    caplog.set_level("INFO", "anomalib_flows")
    with pytest.raises(KeyboardInterrupt if fail_at else OSError):
        predicted(monkeypatch, photos, tmp_path / "out", fail_at)
    count = fail_at or 4
    assert f"Anomalous: {count // 2} of {count}." in caplog.text
    assert len(rows(tmp_path / "out")) == count


def test_truth_is_unknown(photos, tmp_path, monkeypatch) -> None:
    predicted(monkeypatch, photos, tmp_path / "out")
    assert {(row["truth"], row["defect"], row["outcome"]) for row in rows(tmp_path / "out")} == {("", "", "")}
    assert {(row["score"], row["raw_score"]) for row in rows(tmp_path / "out")} == {("0.7", "2.5")}


@pytest.mark.parametrize("part", module.PARTS)
def test_predictions_are_not_overwritten(tmp_path, part) -> None:
    require_new(tmp_path / "out")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/notes.txt").touch()
    require_new(tmp_path / "out")
    (tmp_path / "out" / part).mkdir()
    with pytest.raises(InputError, match="`output` .* already holds predictions"):
        require_new(tmp_path / "out")
    with pytest.raises(InputError, match="`output` .* is a file"):
        require_new(tmp_path / "out/notes.txt")


def test_a_file_a_folder_or_a_pattern_is_predicted(photos, monkeypatch) -> None:
    only, names = find_samples(str(photos / "sub/2.bmp"))
    assert ([s.path for s in only], list(names.values())) == ([photos / "sub/2.bmp"], [Path("2.png")])
    matched, names = find_samples(str(photos / "*/2.*"))
    assert list(names) == [s.path for s in matched] == [photos / "sub/2.bmp", photos / "sub/2.png"]
    assert list(names.values()) == [Path("sub/2.bmp.png"), Path("sub/2.png.png")]
    assert {(s.split, s.label, s.mask) for s in matched} == {("test", 0, None)}


@pytest.mark.parametrize("name", ["gone", "gone.png", "photos/*.gif"])
def test_an_input_without_images_is_named(photos, name) -> None:
    with pytest.raises(InputError, match="`input`"):
        find_samples(str(photos.parent / name))


def test_frames_are_named_by_their_number() -> None:
    assert frame_name(result_of(Sample(Path("line.v2-000001"), "test"))) == Path("line.v2-000001.png")
