"""``predict`` with an exported model, as a user types it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from PIL import Image

from anomalib_flows.cli.app import main
from anomalib_flows.core.errors import InputError
from anomalib_flows.core.files import default_threads
from anomalib_flows.core.types import Sample
from anomalib_flows.data.loading.reading import read_sample
from anomalib_flows.inference import photos as reading
from anomalib_flows.runtime import ExportedModel
from damaged_video import write_damaged_video
from tiny_export import write

pytestmark = pytest.mark.filterwarnings("always")  # the command line prints them

RANDOM = np.random.default_rng(0)
ONE_BY_ONE = ["--loader.batch_size=1", "--loader.workers=0"]
"""Options that read each image when its turn comes, and none ahead."""


def rows(table: Path) -> list[dict[str, str]]:
    with table.open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write(tmp_path / "model.xml")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three photos, the last of them without anything bright."""
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    for name, top in {"1.png": 256, "10.bmp": 256, "sub/2.png": 60}.items():
        Image.fromarray(RANDOM.integers(0, top, (30, 48, 3), dtype=np.uint8)).save(folder / name)
    return folder


def predict(model: Path, source: Path, output: Path, *options: str) -> int:
    return main(["predict", str(model), "--input", str(source), "--output", str(output), *options])


def pictures(output: Path) -> set[str]:
    return {file.relative_to(output).as_posix() for file in output.rglob("*.png")}


def test_kinds_of_pictures_and_images_that_have_them(model: Path, photos: Path, tmp_path: Path) -> None:
    assert predict(model, photos, tmp_path / "a", "--save=overlay,maps", "--pictures=anomalous") == 0
    anomalous = [Path(row["path"]).stem for row in rows(tmp_path / "a/predictions.csv") if row["label"] == "anomalous"]
    assert len(anomalous) == 2
    found = {file.relative_to(tmp_path / "a").as_posix() for file in (tmp_path / "a").rglob("*.???")}
    tables = {"predictions.csv"}
    assert found == tables | {f"{kind}" for name in anomalous for kind in (f"overlay/{name}.png", f"maps/{name}.npy")}
    for name in anomalous:
        [file] = photos.glob(f"{name}.*")
        values = np.load(tmp_path / f"a/maps/{name}.npy", allow_pickle=False)
        np.testing.assert_allclose(values, ExportedModel(model)(file).anomaly_map, atol=1e-6)
    assert predict(model, photos, tmp_path / "b", "--pictures=none") == 0
    assert {file.name for file in (tmp_path / "b").iterdir()} == {
        *("predictions.csv", "prediction.json", "thumbnails.jsonl", "report.html")
    }
    assert len(rows(tmp_path / "b/predictions.csv")) == 3
    assert predict(model, photos, tmp_path / "c", "--save=mask", "--pictures=1") == 0
    assert pictures(tmp_path / "c") == {"mask/1.png"}


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--save=png", "--save cannot be 'png': it must be one or more of heatmap, overlay, mask, maps"),
        ("--save=mask,", "--save cannot be 'mask,': it must be one or more of"),
        ("--save=", "--save is empty"),
        ("--shard=3/2", "--shard cannot be 3/2: it must be a part such as 2/5, the second of five."),
        ("--set-apart=delete", "cannot be delete: it takes one of 'link', 'copy', 'move'"),
        ("--pictures=some", "--pictures cannot be some: it takes a whole number or one of 'all', 'anomalous', 'none'."),
        ("--pictures=-1", "--pictures cannot be -1: it must be all, anomalous, none or a number of at least 0."),
        ("--pictures=1.5", "--pictures cannot be 1.5"),
    ],
)
def test_invalid_choices_of_pictures_are_named(
    model: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, words: str
) -> None:
    assert predict(model, photos, tmp_path / "out", option) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_facts_of_the_model_and_counts_are_written(model: Path, photos: Path, tmp_path: Path) -> None:
    assert predict(model, photos, tmp_path / "out") == 0
    card, facts = ExportedModel(model).card, json.loads((tmp_path / "out/prediction.json").read_text())
    assert facts["image_scale"] == {"typical": card.score_typical, "threshold": card.image_threshold}
    assert facts["calibration_images"] == len(card.calibration_scores)
    assert (facts["model"], facts["images"], facts["anomalous"]) == (str(model), 3, 2)
    for row in rows(tmp_path / "out/predictions.csv"):
        scale = card.image_threshold - card.score_typical
        normalised = 0.5 * (float(row["raw_score"]) - card.score_typical) / scale
        assert float(row["score"]) == pytest.approx(min(max(normalised, 0), 1), abs=1e-5)


@pytest.mark.parametrize("device", [[], ["--device", "CPU"], ["--device=auto"]])
def test_table_and_pictures_are_those_of_the_runtime(
    model: Path, photos: Path, tmp_path: Path, device: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "predicted"
    assert predict(model, photos, output, *device) == 0
    assert "Anomalous: 2 of 3" in capsys.readouterr().out
    table, exported = rows(output / "predictions.csv"), ExportedModel(model)
    assert [row["path"] for row in table] == [str(photos / name) for name in ("1.png", "10.bmp", "sub/2.png")]
    for row in table:
        said = exported(row["path"])
        for column in ("score", "p_value", "raw_score"):
            assert float(row[column]) == pytest.approx(getattr(said, column))
        assert row["label"] == ["normal", "anomalous"][said.label]
        name = Path(row["path"]).relative_to(photos).with_suffix(".png")
        shown = np.asarray(Image.open(output / "mask" / name)) > 0
        assert shown.shape == (30, 48)
        assert shown.any() == said.mask.any()
    assert pictures(output) == {
        f"{kind}/{n}.png" for kind in ("heatmap", "overlay", "mask") for n in ("1", "10", "sub/2")
    }


def test_padding_is_not_shown(photos: Path, tmp_path: Path) -> None:
    white = Image.new("RGB", (48, 24), "white")
    white.paste("black", (24, 0, 48, 24))
    white.save(tmp_path / "half.png")
    assert predict(write(tmp_path / "model.xml", resize="pad"), tmp_path / "half.png", tmp_path / "out") == 0
    shown = np.asarray(Image.open(tmp_path / "out/mask/half.png"))
    assert shown.shape == (24, 48)
    assert (shown[:, :24] == 255).all()
    assert (shown[:, 24:] == 0).all()


def test_frames_of_a_video_are_numbered(model: Path, tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    video = tmp_path / "belt.2.mp4"
    with av.open(str(video), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 32, "yuv420p"
        for shade in (10, 250, 10):
            pixels = np.full((32, 64, 3), shade, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    assert predict(model, video, tmp_path / "out") == 0
    table = rows(tmp_path / "out/predictions.csv")
    assert [Path(row["path"]).name for row in table] == [f"belt.2-{number:06}" for number in (1, 2, 3)]
    assert [row["label"] for row in table] == ["normal", "anomalous", "normal"]
    assert {f"heatmap/belt.2-{number:06}.png" for number in (1, 2, 3)} <= pictures(tmp_path / "out")


def test_damaged_images_stop_or_are_skipped(
    model: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "broken.png").write_bytes(b"")
    assert predict(model, photos, tmp_path / "out") == 2
    assert "broken.png is empty (0 bytes): replace it, or skip it with --loader.on_error skip" in (
        capsys.readouterr().err
    )
    assert len(rows(tmp_path / "out/predictions.partial.csv")) == 2  # the images before it
    assert predict(model, photos, tmp_path / "out", "--loader.on_error=skip", "--resume") == 0
    assert predict(model, photos, tmp_path / "skipped", "--loader.on_error=skip") == 0
    assert "broken.png" in capsys.readouterr().err
    assert len(rows(tmp_path / "skipped/predictions.csv")) == 3
    tables = [(tmp_path / name / "predictions.csv").read_bytes() for name in ("out", "skipped")]
    assert tables[0] == tables[1]


@pytest.fixture
def many(tmp_path: Path) -> Path:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(12):
        Image.fromarray(RANDOM.integers(0, 256, (8, 12, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    return folder


def fail_at_6(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Let reading 6.png end with an error."""

    def read(sample: Sample, *limit: float):
        if sample.path.name == "6.png":
            raise error
        return read_sample(sample, *limit)

    monkeypatch.setattr(reading, "read_sample", read)


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (KeyboardInterrupt(), 130, "Interrupted"),
        (InputError("6.png is gone: wait."), 2, "6.png is gone: wait, or skip it with --loader.on_error skip."),
        (RuntimeError("a bug"), None, ""),
    ],
)
def test_results_before_an_error_are_kept(model, many, tmp_path, monkeypatch, capsys, error, code, words) -> None:
    fail_at_6(monkeypatch, error)
    out = tmp_path / "out"
    if code:
        assert predict(model, many, out, *ONE_BY_ONE) == code
    else:
        with pytest.raises(RuntimeError, match="a bug"):
            predict(model, many, out, *ONE_BY_ONE)
    told = capsys.readouterr()
    assert words in told.err
    table = rows(out / "predictions.partial.csv")
    expected = 5 if code == 130 else 6  # Ctrl-C does not wait for the image that is being computed
    assert [Path(row["path"]).name for row in table] == [f"{number}.png" for number in range(expected)]
    kept = f"Rows and pictures of {expected} images are kept in {out}: to go on, repeat the command with --resume."
    assert kept in told.out
    assert len(pictures(out)) == 3 * expected
    assert not list(out.rglob(".tmp-*"))
    assert predict(model, many, out, *ONE_BY_ONE) == 2
    assert f"--output {out} holds an unfinished prediction: continue it with --resume, or" in capsys.readouterr().err
    monkeypatch.undo()
    assert predict(model, many, out, *ONE_BY_ONE, "--resume") == 0
    assert [Path(row["path"]).name for row in rows(out / "predictions.csv")] == [f"{n}.png" for n in range(12)]
    assert not list(out.glob("*.partial.*"))


def test_rows_are_written_as_they_come(model, many, tmp_path, monkeypatch) -> None:
    seen = []

    def read(sample: Sample, *limit: float):
        seen.append(sum(len(rows(file)) for file in (tmp_path / "out").glob("*.partial.csv")))
        return read_sample(sample, *limit)

    monkeypatch.setattr(reading, "read_sample", read)
    assert predict(model, many, tmp_path / "out", *ONE_BY_ONE) == 0
    assert seen == sorted(seen)
    # A row is written after its four pictures, of which a few per core are drawn at the same time.
    waiting = 1 + 2 * default_threads() // 4
    assert all(done - waiting <= rows_then <= done for done, rows_then in zip([0, 0, *range(1, 11)], seen, strict=True))
    assert seen[-1] > 0
    assert len(rows(tmp_path / "out/predictions.csv")) == 12


def test_images_that_cannot_be_read_are_skipped(model, many, tmp_path, monkeypatch, capsys) -> None:
    fail_at_6(monkeypatch, InputError("6.png is damaged: replace it."))
    assert predict(model, many, tmp_path / "out", "--loader.on_error=skip") == 0
    assert "Images that are left out (1):\n  6.png is damaged" in capsys.readouterr().err
    table, exported = rows(tmp_path / "out/predictions.csv"), ExportedModel(model)
    assert len(table) == 11
    assert all(float(row["raw_score"]) == pytest.approx(exported(row["path"]).raw_score) for row in table)


def test_images_of_another_size_than_a_fixed_one_are_named(many, tmp_path, capsys) -> None:
    fixed = write(tmp_path / "fixed.xml", size=(8, 12))
    Image.new("RGB", (20, 10)).save(many / "3.png")
    assert predict(fixed, many, tmp_path / "out") == 2
    told = capsys.readouterr().err
    assert f"error: {many / '3.png'} is 10 x 20 pixels high and wide, but the model accepts 8 x 12: " in told
    assert len(rows(tmp_path / "out/predictions.partial.csv")) == 3
    assert predict(fixed, many, tmp_path / "skipped", "--loader.on_error=skip") == 0
    assert "3.png is 10 x 20 pixels" in capsys.readouterr().err
    assert len(rows(tmp_path / "skipped/predictions.csv")) == 11
    assert predict(fixed, many / "3.png", tmp_path / "none", "--loader.on_error=skip") == 2
    assert "error: None of 1 images can be read. " in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_damaged_frames_stop_or_are_skipped(model, tmp_path, capsys) -> None:
    video = write_damaged_video(tmp_path / "line.mp4")
    assert predict(model, video, tmp_path / "out") == 2
    before = len(rows(tmp_path / "out/predictions.partial.csv"))
    assert before > 10
    fault = f"Frame {before + 1} of {video} is damaged (Invalid data found when processing input): replace the video"
    assert f"error: {fault}, or skip it with --loader.on_error skip.\n" in capsys.readouterr().err
    assert predict(model, video, tmp_path / "skipped", "--loader.on_error=skip") == 0
    assert fault in capsys.readouterr().err
    assert predict(model, video, tmp_path / "out", "--loader.on_error=skip", "--resume") == 0
    for name in ("predictions.csv", "thumbnails.jsonl", "prediction.json"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "skipped" / name).read_bytes()
    names = [Path(row["path"]).name for row in rows(tmp_path / "skipped/predictions.csv")]
    assert before < len(names) < 40
    assert names[-1] == "line-000040"


def test_unsuitable_thresholds_are_warned_of(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, facts in enumerate([{"protocol": "paper"}, {"false_alarm_rate": 0.01}]):
        assert predict(write(tmp_path / f"{number}.xml", **facts), photos, tmp_path / f"out{number}") == 0
        words = ("0.xml were set on test images", "Too few calibration images")[number]
        assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--device=GPU"], "GPU is not available: choose one of CPU"),
        (["--device=cuda"], "CUDA is not available: choose one of CPU"),
        (["--input=nowhere"], "--input nowhere does not exist"),
        ([f"--input={__file__}"], f"{__file__} cannot be read as a video ("),
    ],
)
def test_mistakes_are_explained(model, photos, tmp_path, capsys, options, words) -> None:
    assert predict(model, photos, tmp_path / "out", *options) == 2
    assert f"error: {words}" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_invalid_models_are_refused(photos, tmp_path, capsys) -> None:
    assert predict(tmp_path / "none.xml", photos, tmp_path / "out") == 2
    assert "none.xml does not exist" in capsys.readouterr().err
    parameter = ov.opset13.parameter([1, 3, 4, 4], np.float32)
    ov.save_model(ov.Model([ov.opset13.result(parameter)], [parameter]), tmp_path / "other.xml")
    (tmp_path / "other.bin").touch()
    assert predict(tmp_path / "other.xml", photos, tmp_path / "out") == 2
    assert "other.xml was not exported by anomalib-flows" in capsys.readouterr().err


def test_devices_of_a_run_are_those_of_torch(trained: Path, photos: Path, tmp_path: Path, capsys) -> None:
    assert predict(trained, photos, tmp_path / "out", "--device=NPU") == 2
    assert "--device cannot be NPU: it must be auto, cpu or cuda" in capsys.readouterr().err
