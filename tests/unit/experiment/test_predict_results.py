"""What a prediction finds and writes, whichever model predicts; what was written before an error is kept."""

import csv
import errno
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.finding import OWN
from anomalib_flows.core.types import ImageResult, Sample
from anomalib_flows.data.checks.scale import InputScale
from anomalib_flows.experiment import predict as module
from anomalib_flows.experiment.options import PredictOptions
from anomalib_flows.experiment.predict import predict
from anomalib_flows.experiment.predictors import Photos, Predictions, find_photos, frame_name
from anomalib_flows.results.progress import DRAWN, PARTS, RECORD, ROWS, begun, require_usable
from anomalib_flows.results.report import write_report
from anomalib_flows.run.directory import Run

KINDS = ("heatmap", "mask", "overlay")
FILES = {"predictions.csv", "prediction.json", "thumbnails.jsonl", "report.html"}
PARTIAL = {ROWS, DRAWN, RECORD}
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


def predicted(
    monkeypatch: pytest.MonkeyPatch,
    photos: Path,
    output: Path,
    fail_at: int | None = None,
    *,
    resume: bool = False,
    **options: Any,
):
    """Predict every second image as anomalous, until one fails."""
    asked: list[Path] = []

    def start(model: Path, options: PredictOptions, trust: bool = False) -> Predictions:
        found = find_photos(options)

        def results(last: str) -> Iterator[ImageResult]:
            for i, sample in enumerate(found.samples[found.done(last) :], found.done(last)):
                if i == fail_at:
                    raise KeyboardInterrupt
                asked.append(sample.path)
                yield result_of(sample, i % 2)

        return Predictions(results, found.name, InputScale((64, 64), "stretch"), FACTS, found.record)

    monkeypatch.setattr(module, "predict_run", start)
    chosen = PredictOptions(input=str(photos), output=output, **options)
    return predict(Path("run-001"), chosen, resume=resume), asked


def rows(file: Path) -> list[dict[str, str]]:
    with (file / "predictions.csv" if file.is_dir() else file).open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_row_and_three_pictures_of_each_image(photos, tmp_path, monkeypatch) -> None:
    summary, _ = predicted(monkeypatch, photos, tmp_path / "out")
    assert (summary.table, summary.anomalous, summary.total) == (tmp_path / "out/predictions.csv", 2, 4)
    assert [row["path"] for row in rows(tmp_path / "out")] == [
        str(photos / name) for name in ("2.png", "10.png", "sub/2.bmp", "sub/2.png")
    ]
    names = ["2.png", "10.png", "sub/2.bmp.png", "sub/2.png.png"]
    assert files_in(tmp_path / "out") == FILES | {f"{kind}/{name}" for kind in KINDS for name in names}


def test_what_was_predicted_before_an_interrupt_is_kept(photos, tmp_path, monkeypatch, caplog) -> None:
    caplog.set_level("INFO", "anomalib_flows")
    with pytest.raises(KeyboardInterrupt):
        predicted(monkeypatch, photos, tmp_path / "out", fail_at=2)
    assert [row["label"] for row in rows(tmp_path / "out" / ROWS)] == ["normal", "anomalous"]
    assert files_in(tmp_path / "out") == PARTIAL | {f"{kind}/{n}" for kind in KINDS for n in ("2.png", "10.png")}
    assert "2 images are kept in" in caplog.text
    assert "repeat the command with `resume`" in caplog.text
    with pytest.raises(InputError, match="out holds an unfinished prediction: predict again with `resume`"):
        write_report(tmp_path / "out")


def test_what_fails_at_once_leaves_no_folder(photos, tmp_path, monkeypatch) -> None:
    with pytest.raises(KeyboardInterrupt):
        predicted(monkeypatch, photos, tmp_path / "out", fail_at=0)
    assert not (tmp_path / "out").exists()


def contents(folder: Path) -> dict[str, bytes]:
    """Return all files but the report, which has times and paths."""
    return {name: (folder / name).read_bytes() for name in files_in(folder) if name != "report.html"}


@pytest.mark.parametrize("options", [{}, {"pictures": 2}, {"set_apart": "copy"}, {"pictures": "none"}])
def test_a_resumed_prediction_ends_like_an_undisturbed_one(photos, tmp_path, monkeypatch, options) -> None:
    monkeypatch.chdir(tmp_path)
    whole, out = Path("out"), tmp_path / "whole"
    predicted(monkeypatch, photos, whole, **options)
    whole.rename(out)
    for fail_at in (1, 2, 3):
        with pytest.raises(KeyboardInterrupt):
            predicted(monkeypatch, photos, whole, fail_at, resume=True, **options)
        assert len(rows(whole / ROWS)) == fail_at
    summary, asked = predicted(monkeypatch, photos, whole, resume=True, **options)
    assert [path.name for path in asked] == ["2.png"]
    assert (summary.anomalous, summary.total) == (2, 4)
    assert contents(whole) == contents(out)
    assert files_in(whole) == files_in(out)
    facts = json.loads((whole / "prediction.json").read_text())
    assert facts == FACTS | {"images": 4, "anomalous": 2}


@pytest.mark.parametrize("name", [ROWS, DRAWN])
@pytest.mark.parametrize("damage", ["cut", "flip", "gone", "more"])
def test_damaged_rows_are_predicted_again(photos, tmp_path, monkeypatch, name: str, damage: str) -> None:
    predicted(monkeypatch, photos, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        predicted(monkeypatch, photos, tmp_path / "out", fail_at=3)
    file = tmp_path / "out" / name
    content = bytearray(file.read_bytes())
    if damage == "flip":
        content[content.rindex(b"10.png")] ^= 1  # in the second line
    file.write_bytes({"cut": content[:-5], "flip": content, "gone": b"", "more": content + b"a,normal,"}[damage])
    _, asked = predicted(monkeypatch, photos, tmp_path / "out", resume=True)
    first = {"cut": 2, "flip": 1, "gone": 0, "more": 3}[damage]
    assert len(asked) == 4 - first
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_an_unfinished_prediction_is_gone_on_with_or_kept(photos, tmp_path, monkeypatch) -> None:
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        predicted(monkeypatch, photos, out, fail_at=3)
    before = contents(out)
    with pytest.raises(InputError, match="`output` .* holds an unfinished prediction: continue it with `resume`, or"):
        predicted(monkeypatch, photos, out)
    for options, words in (
        ({"save": "mask"}, "`save` heatmap,overlay,mask"),
        ({"pictures": 3}, "`pictures` all"),
        ({"set_apart": "link"}, "`set_apart` None"),
        ({"shard": "1/1"}, "`shard` None"),
    ):
        with pytest.raises(InputError, match=f"was begun with {words}: repeat that command, or name another folder"):
            predicted(monkeypatch, photos, out, resume=True, **options)
    Image.new("RGB", (8, 6), "red").save(photos / "3.png")
    with pytest.raises(InputError, match="was begun with other images: repeat that command"):
        predicted(monkeypatch, photos, out, resume=True)
    (photos / "3.png").unlink()
    assert contents(out) == before
    (out / RECORD).write_text("{")
    with pytest.raises(InputError, match=r"prediction.partial.json is damaged: name another folder"):
        predicted(monkeypatch, photos, out, resume=True)
    (out / RECORD).unlink()
    with pytest.raises(InputError, match="already holds predictions"):
        predicted(monkeypatch, photos, out, resume=True)
    assert contents(out).items() <= before.items()


def test_without_an_unfinished_prediction_a_resumed_one_begins(photos, tmp_path, monkeypatch) -> None:
    predicted(monkeypatch, photos, tmp_path / "out", resume=True)
    with pytest.raises(InputError, match="already holds predictions that are complete"):
        predicted(monkeypatch, photos, tmp_path / "out", resume=True)


@pytest.mark.parametrize("call", ["write_json", "write_report"])
def test_a_full_disk_at_the_end_loses_no_row(photos, tmp_path, monkeypatch, call: str) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def full_at_the_end(run: Run, name: str, content: dict[str, Any]) -> None:
        full() if name == "prediction.json" else write_json(run, name, content)

    write_json = Run.write_json
    with monkeypatch.context() as limited:
        if call == "write_json":
            limited.setattr(Run, "write_json", full_at_the_end)
        else:
            limited.setattr("anomalib_flows.results.report.write_report", full)
        with pytest.raises(OSError, match="No space"):
            predicted(limited, photos, tmp_path / "out")
    assert len(rows(tmp_path / "out")) == 4
    _, asked = predicted(monkeypatch, photos, tmp_path / "out", resume=True)
    assert not asked
    predicted(monkeypatch, photos, tmp_path / "whole")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_two_predictions_into_a_folder_are_not_mixed(photos, tmp_path, monkeypatch) -> None:
    record = {"about": {}, "thumbnails": True}
    with (
        begun(tmp_path / "out", record, ("path",), resume=False),
        pytest.raises(InputError, match="Another prediction is writing to `output` .*: wait, or name another"),
    ):
        predicted(monkeypatch, photos, tmp_path / "out", resume=True)
    with (
        pytest.raises(InputError, match="was written to `output` .* meanwhile"),
        begun(tmp_path / "out", record, ("path",), resume=False),
    ):
        pass
    assert files_in(tmp_path / "out") == PARTIAL


def test_temporary_files_of_a_killed_process_are_removed(photos, tmp_path, monkeypatch) -> None:
    with pytest.raises(KeyboardInterrupt):
        predicted(monkeypatch, photos, tmp_path / "out", fail_at=3)
    for folder in (f"mask/.tmp-{'0a' * 16}", f"heatmap/.tmp-{'2c' * 16}"):
        (tmp_path / "out" / folder).mkdir()
        (tmp_path / "out" / folder / "10.png").write_bytes(b"half")
    predicted(monkeypatch, photos, tmp_path / "out", resume=True)
    assert not list((tmp_path / "out").rglob(".tmp-*"))


def test_shards_one_after_the_other_are_the_whole(photos, tmp_path, monkeypatch) -> None:
    predicted(monkeypatch, photos, tmp_path / "whole")
    for count in (2, 3, 4):
        parts = [tmp_path / f"{number} of {count}" for number in range(1, count + 1)]
        for number, part in enumerate(parts, 1):
            predicted(monkeypatch, photos, part, shard=f"{number}/{count}")
        paths = [row["path"] for part in parts for row in rows(part)]
        assert paths == [row["path"] for row in rows(tmp_path / "whole")]
        drawn = [name for part in parts for name in files_in(part) if name.endswith(".png")]
        assert sorted(drawn) == sorted(name for name in files_in(tmp_path / "whole") if name.endswith(".png"))
    with pytest.raises(InputError, match="`shard` 1/5 has no images, as there are 4: name fewer parts"):
        predicted(monkeypatch, photos, tmp_path / "out", shard="1/5")
    for wrong in ("", "0/2", "3/2", "1", "1/0", "a/b", "-1/2", "1/2/3"):
        with pytest.raises(InputError, match=f"`shard` cannot be {wrong}"):
            PredictOptions(input="", output=Path(), shard=wrong)


def test_truth_is_unknown(photos, tmp_path, monkeypatch) -> None:
    predicted(monkeypatch, photos, tmp_path / "out")
    assert {(row["truth"], row["defect"], row["outcome"]) for row in rows(tmp_path / "out")} == {("", "", "")}
    assert {(row["score"], row["raw_score"]) for row in rows(tmp_path / "out")} == {("0.7", "2.5")}


def test_kinds_of_pictures_that_are_named_twice_are_made_once() -> None:
    assert PredictOptions(input="", output=Path(), save="mask, maps,mask").kinds == ("mask", "maps")


@pytest.mark.parametrize("part", PARTS)
def test_predictions_are_not_overwritten(tmp_path, part) -> None:
    require_usable(tmp_path / "out", resume=False)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/notes.txt").touch()
    require_usable(tmp_path / "out", resume=False)
    (tmp_path / "out" / part).mkdir()
    with pytest.raises(InputError, match="`output` .* already holds predictions"):
        require_usable(tmp_path / "out", resume=False)
    with pytest.raises(InputError, match="`output` .* is a file"):
        require_usable(tmp_path / "out/notes.txt", resume=False)


def found(given: Path) -> Photos:
    return find_photos(PredictOptions(input=str(given), output=Path("out")))


def test_a_file_a_folder_or_a_pattern_is_predicted(photos, monkeypatch) -> None:
    only = found(photos / "sub/2.bmp")
    assert ([s.path for s in only.samples], list(only.names.values())) == ([photos / "sub/2.bmp"], [Path("2.png")])
    matched, names, _ = found(photos / "*/2.*")
    assert list(names) == [s.path for s in matched] == [photos / "sub/2.bmp", photos / "sub/2.png"]
    assert list(names.values()) == [Path("sub/2.bmp.png"), Path("sub/2.png.png")]
    assert {(s.split, s.label, s.mask) for s in matched} == {("test", 0, None)}


@pytest.mark.parametrize("name", ["gone", "gone.png", "photos/*.gif"])
def test_an_input_without_images_is_named(photos, name) -> None:
    with pytest.raises(InputError, match="`input`"):
        found(photos.parent / name)


def test_frames_are_named_by_their_number() -> None:
    assert frame_name(result_of(Sample(Path("line.v2-000001"), "test"))) == Path("line.v2-000001.png")
