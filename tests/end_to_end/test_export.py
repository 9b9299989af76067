"""``export`` as a user types it, and what others read of what it wrote."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
import torch
from tiny import draw

from anomalib_flows.cli.app import main
from anomalib_flows.data.loading.reading import read_image
from anomalib_flows.data.splits import read_splits, write_splits
from anomalib_flows.models.checkpoint import load_pipeline, save_pipeline
from anomalib_flows.models.pipeline import Pipeline
from anomalib_flows.models.postprocess import Postprocess
from anomalib_flows.runtime import ExportedModel

pytestmark = pytest.mark.filterwarnings("always")  # the command line prints them


@pytest.fixture(scope="module")
def export(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Export the run with options, once for each set of them."""
    made: dict[tuple[str, ...], Path] = {}

    def run(*options: str) -> Path:
        if options not in made:
            made[options] = tmp_path_factory.mktemp("exported") / "model"
            assert main(["export", str(trained), f"--output={made[options]}", *options]) == 0
        return made[options]

    return run


@pytest.fixture(scope="module")
def pipeline(trained: Path) -> Pipeline:
    return load_pipeline(trained / "model.safetensors").eval()


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A large grey photo, and a small one in colour."""
    folder = tmp_path_factory.mktemp("photos")
    draw(300, blob=True)[0].convert("L").resize((1024, 1024)).save(folder / "large.png")
    draw(301)[0].resize((289, 240)).save(folder / "small.jpg")
    return folder


def report(folder: Path) -> dict:
    return json.loads((folder / "parity.json").read_text())


def files(folder: Path) -> set[str]:
    return {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}


def rows(table: Path) -> list[dict[str, str]]:
    with table.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_by_default_weights_are_float16(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(trained)]) == 0
    folder = trained / "export/openvino-fp16"
    said = capsys.readouterr().out
    assert f"model        {folder / 'model.xml'}" in said
    assert files(folder) == {"model.xml", "model.bin", "parity.json"}
    found = report(folder)["computed_in"]["f32"]
    assert found["within"]
    assert found["score"]["largest"] <= found["bounds"]["score"] == 5e-2
    assert ExportedModel(folder / "model.xml").card.precision == "fp16"
    assert main(["export", str(trained)]) == 2
    assert f"{folder} exists already: choose another folder as --output" in capsys.readouterr().err
    shutil.rmtree(trained / "export")


def test_float32(export, trained: Path) -> None:
    folder = export("--precision=fp32", "--images=test")
    told = report(folder)
    assert told["images"] == {"what": "test", "count": 6}
    found = told["computed_in"]["f32"]
    assert found["within"]
    assert found["labels_agree"] == 6
    assert found["flipped"] == []
    assert found["score"]["mean"] <= found["score"]["largest"] <= found["bounds"]["score"] == 1e-4
    assert found["map"]["mean"] <= found["map"]["largest"] <= found["bounds"]["map"] == 1e-4
    assert found["mask"] == {"equal_pixels": 1, "equal_images": 1}
    assert found["image_auroc"]["trained"] == found["image_auroc"]["exported"]
    assert told["converted_in_seconds"] > 0
    assert abs((folder / "model.bin").stat().st_size - sum(told["bytes"].values())) < 4096  # equal ones are stored once
    assert min(told["bytes"].values()) > 0


def test_the_table_of_the_exported_file_is_that_of_the_run(export, trained, photos, tmp_path) -> None:
    file = export("--precision=fp32", "--images=test") / "model.xml"
    for model, name in ((trained, "run"), (file, "file")):
        assert main(["predict", str(model), f"--input={photos}", f"--output={tmp_path / name}"]) == 0
    ours, theirs = (rows(tmp_path / name / "predictions.csv") for name in ("run", "file"))
    assert len(ours) == 2
    for one, other in zip(ours, theirs, strict=True):
        assert (one["path"], one["label"]) == (other["path"], other["label"])
        for column in ("score", "p_value", "raw_score"):
            assert float(other[column]) == pytest.approx(float(one[column]), abs=1e-4)


def test_int8_has_thresholds_of_its_own(export, pipeline: Pipeline) -> None:
    folder = export("--precision=int8", "--images=test", "--int8.images=3")
    told = report(folder)
    assert told["quantization"] == {"training_images": 3}
    assert "within" not in told["computed_in"]["f32"]
    card = ExportedModel(folder / "model.xml").card
    assert card.precision == "int8"
    post = pipeline.postprocess
    assert len(card.calibration_scores) == post.calibration_size
    assert card.calibration_scores != tuple(post.calibration_scores.tolist())
    assert card.image_threshold in card.calibration_scores
    assert card.image_threshold == pytest.approx(float(post.image_threshold), abs=0.1)


def require_same(found: dict[str, np.ndarray], pipeline: Pipeline, image: torch.Tensor) -> None:
    said, post = pipeline(image), pipeline.postprocess
    np.testing.assert_allclose(found["raw_score"], said.scores, atol=1e-4)
    np.testing.assert_allclose(found["pred_score"], post.normalise_scores(said.scores), atol=1e-3)
    np.testing.assert_allclose(found["anomaly_map"], post.normalise(said.maps[:, :1]), atol=1e-3)
    np.testing.assert_array_equal(found["pred_label"], said.labels)


def test_onnx(export, pipeline: Pipeline, photos: Path) -> None:
    folder = export("--format=onnx")
    assert files(folder) == {"model.onnx", "parity.json"}
    assert report(folder)["computed_in"]["f32"]["within"]
    image = read_image(photos / "small.jpg")[None]
    compiled = ov.Core().compile_model(folder / "model.onnx", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = compiled({0: image.permute(0, 2, 3, 1).contiguous().numpy()})
    require_same({name: v for o, v in found.items() for name in o.get_names()}, pipeline, image)


def test_torch(export, pipeline: Pipeline, photos: Path) -> None:
    folder = export("--format=torch")
    assert files(folder) == {"model.pt2", "parity.json"}
    program = torch.export.load(folder / "model.pt2").module()
    image = read_image(photos / "small.jpg")[None]
    names = ("pred_score", "pred_label", "anomaly_map", "pred_mask", "raw_score")
    with torch.no_grad():
        found = dict(zip(names, program(image.permute(0, 2, 3, 1).contiguous()), strict=True))
    require_same(found, pipeline, image)


def test_a_model_repository_with_one_size(export) -> None:
    folder = export("--layout=ovms", "--input.size=80,90")
    assert files(folder) == {"model/1/model.xml", "model/1/model.bin", "parity.json"}
    model = ov.Core().read_model(folder / "model/1/model.xml")
    assert list(model.input("image").shape) == [1, 80, 90, 3]


def test_a_model_repository_of_onnx(export) -> None:
    folder = export("--format=onnx", "--layout=ovms")
    assert files(folder) == {"model/1/model.onnx", "parity.json"}
    assert report(folder)["computed_in"]["f32"]["within"]


def test_accuracy_control(export) -> None:
    folder = export("--precision=int8", "--int8.images=3", "--int8.accuracy_control=true", "--int8.max_drop=0.4")
    facts = report(folder)["quantization"]
    assert facts["training_images"] == 3
    control = facts["accuracy_control"]
    # the one that calibrates, as it is and with a drawn defect
    assert control["images"] == {"what": "calibration, with drawn defects", "count": 2}
    before, after = control["auroc"]
    assert control["max_drop"] == 0.4
    assert after >= before - 0.4
    assert ExportedModel(folder / "model.xml").card.precision == "int8"


def test_the_raw_map_for_model_api_in_cpp(export, pipeline: Pipeline, tree: Path) -> None:
    folder = export("--interface=model-api-map", "--precision=fp32", "--images=test")
    assert report(folder)["computed_in"]["f32"]["within"]
    model = ov.Core().read_model(folder / "model.xml")
    assert [output.any_name for output in model.outputs] == ["raw_map"]
    told = {
        key: model.get_rt_info(["model_info", key]).astype(str) for key in ("pixel_threshold", "normalization_scale")
    }
    threshold, scale = float(told["pixel_threshold"]), float(told["normalization_scale"])
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    post = pipeline.postprocess
    for file in sorted((tree / "stripes/test").rglob("*.png")):
        image = read_image(file)[None]
        expected = pipeline(image)
        found = compiled({0: image.permute(0, 2, 3, 1).contiguous().numpy()})["raw_map"]
        np.testing.assert_allclose(found, expected.maps[:, :1], atol=1e-4)
        shown = np.clip((found - threshold) / scale + 0.5, 0, 1)  # as Model API does
        np.testing.assert_allclose(shown, post.normalise(expected.maps[:, :1]), atol=1e-3)


def test_model_api_reads_its_export(export, pipeline: Pipeline, tree: Path) -> None:
    import cv2
    from model_api.adapters import OpenvinoAdapter, create_core
    from model_api.models import Model

    file = export("--interface=model-api", "--precision=fp32") / "model.xml"
    exact = {"INFERENCE_PRECISION_HINT": "f32"}  # which Model API does not choose by itself, where a CPU has bfloat16
    model = Model.create_model(OpenvinoAdapter(create_core(), str(file), device="CPU", plugin_config=exact))
    labels = set()
    for file in sorted((tree / "stripes/test").rglob("*.png")):
        image = read_image(file)[None]
        said, post = pipeline(image), pipeline.postprocess
        result = model(image[0].permute(1, 2, 0).contiguous().numpy())
        assert result.pred_score == pytest.approx(float(post.normalise_scores(said.scores)), abs=1e-3)
        assert int(result.pred_label) == int(said.labels)
        labels.add(int(said.labels))
        expected = (255 * post.normalise(said.maps[0, 0])).round().to(torch.uint8).numpy()
        resized = cv2.resize(expected, image.shape[:1:-1])  # which Model API resizes by
        assert np.abs(resized.astype(float) - result.anomaly_map).max() <= 1
    assert labels == {0, 1}


def test_for_anomalib_floats_go_in(export) -> None:
    model = ov.Core().read_model(export("--interface=anomalib") / "model.xml")
    assert model.input(0).get_element_type() == ov.Type.f32
    assert model.input(0).get_partial_shape() == ov.PartialShape([1, 3, -1, -1])


WITHOUT_OPENVINO = """
import sys
sys.modules.update(openvino=None, nncf=None)
from anomalib_flows.cli.app import main
sys.exit(main(sys.argv[1:]))
"""


def without_openvino(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command where OpenVINO cannot be imported."""
    return subprocess.run([sys.executable, "-c", WITHOUT_OPENVINO, *arguments], capture_output=True, text=True)


def test_torch_takes_no_openvino(trained: Path, tmp_path: Path) -> None:
    done = without_openvino("export", str(trained), "--format=torch", f"--output={tmp_path / 'out'}")
    assert done.returncode == 0, done.stderr
    assert files(tmp_path / "out") == {"model.pt2", "parity.json"}
    assert report(tmp_path / "out")["computed_in"]["f32"]["within"]


@pytest.mark.parametrize(("format", "packages"), [("openvino", "openvino"), ("onnx", "openvino onnx onnxscript")])
def test_other_formats_say_what_to_install(trained: Path, tmp_path: Path, format: str, packages: str) -> None:
    done = without_openvino("export", str(trained), f"--format={format}", f"--output={tmp_path / 'out'}")
    assert done.returncode == 2
    assert f"pip install {packages}.\n" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_file_that_decides_otherwise_is_not_kept(trained: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    tracing = torch.jit.is_tracing
    monkeypatch.setattr(
        Postprocess,
        "normalise_scores",
        lambda self, scores: torch.full_like(scores, 0.7 if tracing() else 0.6),
    )
    arguments = ["export", str(trained), "--precision=fp32", f"--output={tmp_path / 'out'}"]
    require_refused(arguments, "fp32 model decides otherwise than the trained one: scores differ by 0.1 (", capsys)
    assert not list(tmp_path.iterdir())


def test_other_programs_would_show_padding(train: Callable[..., Path], tmp_path: Path, capsys) -> None:
    run = train("--trainer.max_epochs=1", "--image.resize=pad")
    for interface in ("model-api", "model-api-map", "anomalib"):
        arguments = ["export", str(run), f"--interface={interface}", f"--output={tmp_path / 'out'}"]
        require_refused(arguments, f"--interface {interface} is not available for a run with image.resize pad", capsys)


def test_images_that_are_stretched_to_a_fixed_size_are_counted(trained: Path, tmp_path: Path, capsys) -> None:
    options = ["--input.size=80,90", "--images=test", f"--output={tmp_path / 'out'}"]
    assert main(["export", str(trained), *options]) == 0
    assert "6 of 6 images are not 80 x 90 pixels high and wide" in capsys.readouterr().err


@pytest.fixture
def incomplete(trained: Path, tmp_path: Path) -> Callable[[str, int], Path]:
    """Copy the run, as if some first images of a split were gone."""

    def copy(split: str, count: int) -> Path:
        run = tmp_path / "run"
        shutil.copytree(trained, run)
        samples = read_splits(run / "splits.csv")
        gone = [sample for sample in samples if sample.split == split][:count]
        moved = [replace(s, path=Path("/gone", s.path.name)) if s in gone else s for s in samples]
        write_splits(moved, run / "splits.csv")
        return run

    return copy


@pytest.mark.parametrize(
    ("split", "options", "words"),
    [
        ("test", ["--format=torch", "--images=test"], "2 of the 6 test images of RUN are missing and were skipped"),
        ("train", ["--precision=int8"], "2 of the 8 train and calibration images of RUN are missing and were skipped"),
    ],
)
def test_missing_images_are_counted(incomplete, tmp_path: Path, capsys, split: str, options, words: str) -> None:
    run = incomplete(split, 2)
    assert main(["export", str(run), f"--output={tmp_path / 'out'}", *options]) == 0
    warned = capsys.readouterr().err
    assert words.replace("RUN", str(run)) in warned
    assert "the first is /gone/" in warned
    assert warned.count("are missing and were skipped") == 1
    told = report(tmp_path / "out")
    assert told["images"]["count"] == (4 if split == "test" else 1)
    assert told["quantization"].get("training_images") == (None if split == "test" else 5)


@pytest.mark.parametrize(
    ("split", "options", "words"),
    [
        (
            "calibration",
            [],
            "All 1 calibration images of RUN are missing from /gone: restore them, or set --images to",
        ),
        (
            "calibration",
            ["--precision=int8", "--images=test"],
            "or calibrate the run on other normal images",
        ),
        (
            "train",
            ["--precision=int8"],
            "All 7 train images of RUN are missing from /gone: restore them, or choose another --precision",
        ),
    ],
)
def test_images_that_are_all_gone_are_said(incomplete, tmp_path: Path, capsys, split: str, options, words: str) -> None:
    run = incomplete(split, 100)
    arguments = ["export", str(run), f"--output={tmp_path / 'out'}", *options]
    require_refused(arguments, words.replace("RUN", str(run)), capsys)
    assert not (tmp_path / "out").exists()


def test_a_run_of_the_papers_protocol(train: Callable[..., Path], tree: Path, tmp_path: Path, capsys) -> None:
    run = train("--trainer.max_epochs=1", "--protocol=paper", "--model.norm=whitened")
    require_refused(["export", str(run)], f"{run} has no calibration images: set --images to", capsys)
    require_refused(["export", str(run), "--precision=int8", "--images=test"], "(protocol paper): calibrate", capsys)
    assert main(["export", str(run), "--precision=fp32", "--images=test", f"--output={tmp_path / 'paper'}"]) == 0
    assert "were set on its test images" in capsys.readouterr().err
    card, trained = (
        ExportedModel(tmp_path / "paper/model.xml").card,
        load_pipeline(run / "model.safetensors"),
    )
    assert card.protocol == card.metrics["protocol"] == "paper"
    assert card.image_threshold == pytest.approx(float(trained.postprocess.image_threshold))
    assert card.metrics["measured_with"] == "trained model"
    assert main(["calibrate", str(run), f"--images={tree / 'stripes/test/good'}"]) == 0
    options = ["--precision=int8", "--images=test", "--int8.images=3", f"--output={tmp_path / 'held-out'}"]
    assert main(["export", str(run), *options]) == 0
    card, trained = (
        ExportedModel(tmp_path / "held-out/model.xml").card,
        load_pipeline(run / "model.safetensors"),
    )
    assert (card.protocol, card.metrics["protocol"]) == ("calibrated", "paper")  # figures are those of before
    assert len(card.calibration_scores) == 3
    assert card.image_threshold in card.calibration_scores
    assert card.image_threshold != float(trained.postprocess.image_threshold)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--format=onnx", "--precision=int8"], "--precision int8 is not available with --format onnx"),
        (["--int8.images=5"], "--int8.images cannot be used with --precision fp16: use int8"),
        (
            ["--precision=fp32", "--int8.accuracy_control=true", "--int8.preset=mixed"],
            "--int8.preset and --int8.accuracy_control cannot be used with --precision fp32",
        ),
        (["--format=onnx", "--int8.smooth_quant=0.5"], "--int8.smooth_quant cannot be used with --precision fp32"),
        (
            ["--precision=int8", "--int8.max_drop=0.1"],
            "--int8.max_drop cannot be 0.1: it must be left out without --int8.accuracy_control",
        ),
        (["--format=torch", "--layout=ovms"], "--layout ovms is not available with --format torch"),
        (["--format=torch", "--interface=anomalib"], "--interface anomalib is not available with --format torch"),
        (["--images=EMPTY"], "has no images"),
        (["--input.size=90,"], "--input.size 90, is not a size"),
        (["--interface=model-api", "--input.layout=NCHW"], "--interface model-api defines the input"),
        (["--input.batch=-1"], "--input.batch cannot be -1"),
        (["--input.preprocessing=false", "--input.layout=NCHW"], "--input.preprocessing cannot be"),
    ],
)
def test_mistakes_are_explained(trained: Path, tmp_path: Path, capsys, options: list[str], words: str) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    options = [option.replace("EMPTY", str(empty)) for option in options]
    require_refused(["export", str(trained), f"--output={tmp_path / 'out'}", *options], words, capsys)
    assert list(tmp_path.iterdir()) == [empty]


def require_refused(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Fail unless a command says in a sentence why it does nothing."""
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert words in said
    assert "Traceback" not in said
    (line,) = [line for line in said.splitlines() if "error: " in line]
    assert said.rstrip().endswith(line)


def test_what_is_no_run_is_said(tmp_path: Path, capsys) -> None:
    require_refused(["export", str(tmp_path)], str(tmp_path), capsys)
    assert not list(tmp_path.iterdir())


def test_a_run_without_thresholds_is_said(trained: Path, tmp_path: Path, capsys) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    loaded = load_pipeline(run / "model.safetensors")
    loaded.postprocess.image_threshold = torch.tensor(torch.nan)
    save_pipeline(loaded, run / "model.safetensors")
    before = files(run)
    require_refused(["export", str(run)], f"Type: anomalib-flows calibrate {run}", capsys)
    assert files(run) == before


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="this user may write everywhere")
def test_a_folder_that_cannot_be_written_to_is_said(trained: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    require_refused(["export", str(trained), f"--output={tmp_path / 'locked/out'}"], "locked", capsys)


@pytest.mark.parametrize(
    ("fault", "words"),
    [("damaged", "is damaged"), ("missing", "model.bin is missing"), ("device", "NPU is not available")],
)
def test_exports_that_cannot_be_used_are_said(export, photos, tmp_path, capsys, fault: str, words: str) -> None:
    shutil.copytree(export("--precision=fp32", "--images=test"), tmp_path / "model")
    weights = tmp_path / "model/model.bin"
    if fault == "damaged":
        weights.write_bytes(weights.read_bytes()[:1000])
    if fault == "missing":
        weights.unlink()
    options = ["--device=NPU"] if fault == "device" else []
    predict = ["predict", str(tmp_path / "model/model.xml"), f"--input={photos}", f"--output={tmp_path / 'out'}"]
    require_refused([*predict, *options], words, capsys)
    assert not (tmp_path / "out").exists()


def test_an_unreadable_image_stops_all(trained: Path, photos: Path, tmp_path: Path, capsys) -> None:
    shutil.copytree(photos, tmp_path / "photos")
    (tmp_path / "photos/broken.png").write_bytes(b"no image")
    options = [f"--images={tmp_path / 'photos'}", f"--output={tmp_path / 'out'}"]
    require_refused(["export", str(trained), *options], "broken.png", capsys)
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]
