"""``report``, as a user types it, and the reports that other commands leave."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tiny import draw

from anomalib_flows.cli import main

pytestmark = pytest.mark.filterwarnings("always")  # the command line prints them


@pytest.fixture(scope="module")
def predicted(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What 'predict' wrote about photos with names that a page or a table could mistake for something else."""
    photos, output = tmp_path_factory.mktemp("photos"), tmp_path_factory.mktemp("predicted") / "new"
    for number, name in enumerate(("=cmd()", "<script>alert(1)", "plain")):
        draw(300 + number, blob=True)[0].save(photos / f"{name}.png")
    assert main(["predict", str(trained), f"--input={photos}", f"--output={output}", "--pictures=none"]) == 0
    return output


def failure(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one sentence of a command that fails."""
    capsys.readouterr()
    assert main(["report", *map(str, arguments)]) == 2
    said = capsys.readouterr()
    assert not said.out
    assert said.err.count("\n") == 1
    return said.err


def test_training_and_prediction_leave_a_report_that_opens(trained: Path, predicted: Path, open_page: Any) -> None:
    page = open_page(trained / "report.html")
    assert page.inner_text("h1") == "fastflow on stripes"
    assert page.locator(".tile").count() == 6
    page.wait_for_function("[...document.images].every((image) => image.complete && image.naturalWidth)")
    normal, alarms = (int(page.inner_text(f"#{name}")) for name in ("true-normal", "false-alarms"))
    assert normal + alarms == 3
    assert page.get_by_text("training loss").is_visible()
    page = open_page(predicted / "report.html")
    assert set(page.locator(".tile-name").all_inner_texts()) == {"=cmd().png", "<script>alert(1).png", "plain.png"}


def test_a_report_is_written_where_it_is_asked_for(
    trained: Path, predicted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in (trained, predicted):
        file = tmp_path / f"{folder.name}.html"
        assert main(["report", str(folder), f"--output={file}"]) == 0
        assert str(file) in capsys.readouterr().out
        assert file.read_bytes() == (folder / "report.html").read_bytes()


def test_several_runs_are_compared_and_animated(
    trained: Path, predicted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    copies = [Path(shutil.copytree(folder, tmp_path / name)) for folder, name in ((trained, "run"), (predicted, "new"))]
    monkeypatch.chdir(tmp_path)
    assert main(["report", *map(str, copies), "--animate"]) == 0
    assert "Comparison of 2 results" in (tmp_path / "comparison.html").read_text()
    assert capsys.readouterr().out.count("animation.webp") == 2
    for copy in copies:
        assert Image.open(copy / "animation.webp").format == "WEBP"


def test_what_cannot_be_reported_is_said_in_one_sentence(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    untested = tmp_path / "untested"
    untested.mkdir()
    shutil.copy(trained / "config.yaml", untested)
    assert f"test it first. Type: anomalib-flows test {untested}" in failure(capsys, untested)
    assert "name another one" not in failure(capsys, tmp_path / "nowhere")
    assert "is a folder" in failure(capsys, trained, "--output", tmp_path)
    assert "--output /dev/null/a.html cannot be written" in failure(capsys, trained, "--output=/dev/null/a.html")
    assert "twice" in failure(capsys, trained, trained)
    damaged = Path(shutil.copytree(trained, tmp_path / "damaged"))
    (damaged / "metrics.json").write_text("{")
    assert "metrics.json is damaged" in failure(capsys, damaged)
    assert "metrics.json is damaged" in failure(capsys, trained, damaged)
    assert "runs must be given" in failure(capsys)
