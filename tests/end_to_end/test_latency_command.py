"""``latency``, as a user types it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
import torch
from PIL import Image

from anomalib_flows.benchmark.latency_run import watched
from anomalib_flows.cli.app import main
from anomalib_flows.models.checkpoint import load_pipeline
from anomalib_flows.models.pipeline import Pipeline
from anomalib_flows.run.directory import Run
from tiny_export import write

pytestmark = pytest.mark.filterwarnings("always")  # the command line prints them

SHORT = "--seconds=0.02"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write(tmp_path / "model.xml")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    for number, size in enumerate([(30, 40), (30, 40), (20, 10)]):
        pixels = np.random.default_rng(number).integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"photos/{number}.png")
    return tmp_path / "photos"


def columns(printed: str, head: str) -> list[list[str]]:
    """Rows of the table that begins with a head, without it; words of a cell lie one space apart."""
    lines = printed.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(head))
    rows = [re.split(r" {2,}", line) for line in lines[start:]]
    end = next((number for number, row in enumerate(rows) if row == [""]), len(rows))
    assert len({len(row) for row in rows[:end]}) == 1
    return rows[1:end]


def supported() -> list[str]:
    """Inference precisions of this CPU, float32 first."""
    capabilities = ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return [
        name
        for name, capability in {"f32": "FP32", "bf16": "BF16", "f16": "FP16"}.items()
        if capability in capabilities
    ]


def test_table_and_file_agree(model, tmp_path, capsys) -> None:
    file = tmp_path / "new/measurements.json"
    precisions = supported()[:2]
    asked = ",".join([precisions[0], *map(str.upper, precisions[1:])])
    assert main(["latency", str(model), SHORT, f"--precisions={asked}", "--image-size=20,30", f"--output={file}"]) == 0
    printed, written = capsys.readouterr().out, json.loads(file.read_text())
    assert printed.startswith(f"{model}, images of 20 x 30\n")
    assert written["machine"]["device"] in printed
    assert ov.__version__.partition("-")[0] in printed
    assert written["image_sizes"] == [[20, 30]]
    rows = written["rows"]
    shown = [[row[0], *map(float, row[1:4]), int(row[4])] for row in columns(printed, "precision")]
    names = ("median_ms", "p90_ms", "p99_ms")
    assert shown == [[row["precision"], *(round(row[n], 2) for n in names), row["calls"]] for row in rows]
    assert [row["precision"] for row in rows] == precisions
    for row in rows:
        assert 0 < row["median_ms"] <= row["p90_ms"] <= row["p99_ms"]
        assert row["images_per_second"] > 0
    assert [row[0] for row in columns(printed, "ms in")] == precisions
    for row in columns(printed, "ms in"):
        assert sum(int(share) for cell in row for share in re.findall(r"\((\d+) %\)", cell)) in range(97, 104)


def test_all_precisions_of_the_device_are_measured_unless_some_are_named(model, capsys) -> None:
    assert main(["latency", str(model), SHORT]) == 0
    measured = [row[0] for row in columns(capsys.readouterr().out, "precision")]
    assert measured[0] == "f32"
    assert sorted(measured) == sorted(supported())


def test_photos_are_measured_with(model, photos, tmp_path, capsys) -> None:
    command = ["latency", str(model), SHORT, "--precisions=f32", f"--output={tmp_path / 'a.json'}"]
    assert main([*command, f"--images={photos}"]) == 0
    assert f"{model}, images of 2 sizes" in capsys.readouterr().out
    assert json.loads((tmp_path / "a.json").read_text())["image_sizes"] == [[30, 40], [20, 10]]
    assert main([*command, f"--images={photos / '2.png'}"]) == 0
    assert "images of 20 x 10" in capsys.readouterr().out


def test_batches_are_told_of(tmp_path, capsys) -> None:
    assert main(["latency", str(write(tmp_path / "a.xml", batch=3)), SHORT, "--precisions=f32"]) == 0
    assert "images of 8 x 12, 3 in each inference" in capsys.readouterr().out


def test_exported_models_take_no_torch(model, tmp_path) -> None:
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['torch', 'timm', 'lightning', 'kornia', 'scipy']))\n"
        "from anomalib_flows.cli.app import main\n"
        "if __name__ == '__main__':\n    sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "latency", model, SHORT, "--precisions=f32"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "median ms" in done.stdout


def test_parts_of_a_detector_are_told_apart(trained: Path, tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    assert main(["export", str(trained), f"--output={tmp_path / 'exported'}"]) == 0
    model = tmp_path / "exported/model.xml"
    assert main(["latency", str(model), SHORT, "--precisions=f32", f"--output={file}"]) == 0
    written = json.loads(file.read_text())
    assert written["image_sizes"] == [[64, 64]]
    taken = written["rows"][0]["parts_ms"]
    assert min(taken[part] for part in ("preprocess", "encoder", "flow", "decision")) > 0
    assert taken["decision"] < taken["encoder"] + taken["flow"]


def test_runs_are_measured_in_torch(trained: Path, tmp_path: Path, capsys) -> None:
    file = tmp_path / "a.json"
    assert main(["latency", str(trained), SHORT, f"--output={file}"]) == 0
    printed, written = capsys.readouterr().out, json.loads(file.read_text())
    assert "images of 64 x 64" in printed
    assert torch.__version__ in printed
    assert "images/s" not in printed
    assert [row["precision"] for row in written["rows"]] == ["f32", "bf16"]
    for row in written["rows"]:
        assert list(row["parts_ms"]) == ["resize", "encoder", "rest"]
        assert min(row["parts_ms"].values()) > 0
        assert sum(row["parts_ms"].values()) <= row["calls"] * row["p99_ms"]


def test_photos_for_a_run(trained: Path, photos: Path, capsys) -> None:
    assert main(["latency", str(trained), SHORT, f"--images={photos}", "--precisions=bf16"]) == 0
    assert "images of 2 sizes" in capsys.readouterr().out


def test_watching_changes_no_result(trained: Path) -> None:
    pipeline: Pipeline = load_pipeline(Run(trained).model_file)
    image = torch.randint(256, (1, 3, 40, 50), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    before = pipeline(image).maps
    with watched(pipeline.preprocess, "resize") as resizing, watched(pipeline.detector, "encode") as encoding:
        assert torch.equal(pipeline(image).maps, before)
    assert (len(resizing), len(encoding)) == (1, 1)
    pipeline(image)
    assert len(resizing) == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--device=GPU"], "GPU is not available: choose one of CPU"),
        (["--seconds=0"], "--seconds cannot be 0.0: it must be above 0"),
        (["--seconds=-1"], "--seconds cannot be -1.0"),
        (["--seconds=inf"], "--seconds cannot be inf"),
        (["--seconds=long"], "--seconds"),
        (["--streams=0"], "--streams cannot be 0: it must be at least 1, or auto"),
        (["--streams=many"], "--streams cannot be many"),
        (["--image_size=0"], "--image-size 0 is not a size"),
        (["--image_size=5,x"], "--image-size 5,x is not a size"),
        (["--image_size=8,20000"], "--image-size cannot be 8,20000: it must be at most 10000"),
        (["--image_size=8", "--images=photos"], "not both"),
        (["--images=nowhere"], "--images nowhere is not a folder"),
        (["--precisions=f64"], "--precisions cannot be f64: it must be one of those that CPU supports: f32"),
        (["--precisions="], "--precisions is empty: give it a value"),
        (["--output=."], "--output cannot be .: it must be a file whose name ends with .json"),
        ([f"--output={__file__}/a.json"], "is a file; name another one"),
        (["--device="], "is empty: give it a value"),
    ],
)
def test_mistakes_are_explained_in_a_sentence(model, options, words, capsys) -> None:
    assert main(["latency", str(model), *options]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert words in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--device=NPU"], "--device cannot be NPU: it must be cpu or cuda for a run"),
        (["--streams=2"], "--streams is for exported models"),
        (["--precisions=f16"], "--precisions cannot be f16: it must be one of those that torch supports: f32, bf16"),
    ],
)
def test_mistakes_with_a_run_are_said(trained, options, words, capsys) -> None:
    assert main(["latency", str(trained), *options]) == 2
    assert words in capsys.readouterr().err


def test_what_is_no_model_is_said(tmp_path, capsys) -> None:
    assert main(["latency", str(tmp_path / "none.xml")]) == 2
    assert "none.xml does not exist" in capsys.readouterr().err
    assert main(["latency", str(tmp_path)]) == 2
    assert "is not a run" in capsys.readouterr().err
    (tmp_path / "words.xml").write_text("hello")
    assert main(["latency", str(tmp_path / "words.xml")]) == 2
    assert "is not an OpenVINO model" in capsys.readouterr().err


def test_images_of_another_size_than_a_fixed_one_are_said(tmp_path, capsys) -> None:
    assert main(["latency", str(write(tmp_path / "a.xml", size=(8, 12))), "--image_size=9"]) == 2
    assert "An image is 9 x 9 pixels high and wide, but the model accepts 8 x 12: " in capsys.readouterr().err
