"""The examples of the how-to pages on exported models run."""

import json
import os
import re
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent
from typing import Any, ClassVar

import numpy as np
import pyarrow.parquet
import pytest
from PIL import Image

from anomalib_flows.cli.app import main
from anomalib_flows.cli.runtime import main as runtime
from anomalib_flows.runtime import ExportedModel
from tiny_export import write

HOW_TO = Path(__file__).parents[2] / "docs/how-to"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with everything that the page names."""
    (tmp_path / "photos").mkdir()
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8))
    for name in ("photo.png", "photos/1.png", "photos/2.png"):
        image.save(tmp_path / name)
    write(tmp_path / "model.xml")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def blocks(page: str, language: str) -> list[str]:
    text = (HOW_TO / page).read_text(encoding="utf-8")
    return [dedent(code) for code in re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)]


@pytest.mark.usefixtures("folder")
def test_examples_in_python_run() -> None:
    printed = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        for code in blocks("runtime.md", "python")
    ]
    assert [(done.returncode, done.stderr) for done in printed] == [(0, "")] * 3
    assert [len(done.stdout.splitlines()) for done in printed] == [2, 3, 2]


def test_commands_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    [install, alone, predict] = (block.split() for block in blocks("runtime.md", "sh"))
    assert install[:3] == ["pip", "install", "--no-deps"]
    assert runtime(alone[1:]) == 0
    (folder / "predicted").rename(folder / "predicted-alone")
    [latency] = (block.split() for block in blocks("intel.md", "sh") if "--image_size" in block)
    assert main(predict[1:]) == 0
    tables = [(folder / name / "predictions.csv").read_text() for name in ("predicted", "predicted-alone")]
    assert tables[0] == tables[1]
    assert len(tables[0].splitlines()) == 3
    assert main([*latency[1:], "--seconds=0.02"]) == 0
    assert "images/s" in capsys.readouterr().out
    assert (folder / "latency.json").is_file()


def test_ray_data_predicts_as_the_command(folder: Path) -> None:
    pytest.importorskip("ray")
    [code] = (code for code in blocks("many-photos.md", "python") if "import ray" in code)
    local = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    start = "import ray\nray.init(num_cpus=8, include_dashboard=False)\n"
    words = [sys.executable, "-c", start + code]
    done = subprocess.run(words, capture_output=True, text=True, env=os.environ | local)
    assert done.returncode == 0, done.stderr
    files = sorted((folder / "predicted").iterdir())
    found = [row for file in files for row in pyarrow.parquet.read_table(file).to_pylist()]
    model = ExportedModel("model.xml")
    assert sorted(row["path"] for row in found) == [str(folder / f"photos/{number}.png") for number in (1, 2)]
    for row in found:
        result = model(row["path"])
        assert (row["label"], row["score"], row["p_value"]) == (result.label, result.score, result.p_value)


@pytest.mark.usefixtures("folder")
def test_a_site_is_worked_out_from_measurements(capsys: pytest.CaptureFixture[str]) -> None:
    measure, work_out = blocks("site.md", "python")
    Image.open("photo.png").convert("RGB").save("photo.jpg")
    exec(measure.replace("repeats=50", "repeats=2"), {})  # noqa: S102
    assert re.fullmatch(r"decode +[\d.]+ ms\npredict +[\d.]+ ms\n", capsys.readouterr().out)
    exec(work_out, {})  # noqa: S102
    assert capsys.readouterr().out in (HOW_TO / "site.md").read_text(encoding="utf-8")


def test_the_element_of_dl_streamer_passes_decisions_on(folder: Path) -> None:
    [code] = (code for code in blocks("other-programs.md", "python") if "class Inspect" in code)
    known: dict[str, Any] = {}
    exec(code, known)  # noqa: S102
    pixels = np.asarray(Image.open(folder / "photo.png"))

    class Frame:
        messages: ClassVar[list[str]] = []
        data = contextmanager(lambda self: iter([np.dstack([pixels, pixels[..., :1]])]))
        add_message = messages.append

    assert known["Inspect"]("model.xml").process_frame(Frame())
    result = ExportedModel("model.xml")("photo.png")
    assert [json.loads(text) for text in Frame.messages] == [{"label": result.label, "score": result.score}]
