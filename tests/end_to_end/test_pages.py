"""The blocks of the README, the tutorial and of how-to pages run, with a tiny network and few images."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image
from tiny import SMALL, draw

import trees
from anomalib_flows.cli.app import main
from anomalib_flows.data.datasets import synthetic
from run_page import run_blocks

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
pytestmark = pytest.mark.filterwarnings("always")  # the command line prints them


def command(words: Sequence[str]) -> int:
    """Run a command; train a tiny network for one epoch."""
    tiny = ["--model.backbone=test_efficientnet", "--model.weights=random", *SMALL[3:], "--trainer.max_epochs=1"]
    model = "cflow" if "cflow" in words else "fastflow"
    return main([*words, f"--model={model}", *tiny] if words[0] == "train" and "my.yaml" not in words else words)


def test_the_tutorial_runs_to_its_export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    for name, count in {"TRAIN_GOOD": 20, "TEST_GOOD": 6, "TEST_DEFECTIVE": 18}.items():
        monkeypatch.setattr(synthetic, name, count)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RUN", "")  # the page sets it
    run_blocks((DOCS / "tutorial.md").read_text(encoding="utf-8"), command)
    assert "Missed: " in capsys.readouterr().out
    for name in ("predicted", "predicted_int8"):
        assert len(Path(name, "predictions.csv").read_text().splitlines()) == 1 + 3
    assert Path("results/fastflow/folder/good/run-001/report.html").is_file()


@pytest.fixture
def workplace(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a working folder with photos and a run, as the how-to pages name them."""
    for folder, count, blob in (("good", 24, False), ("more_good", 20, False), ("bad/blob", 2, True)):
        (tmp_path / "photos" / folder).mkdir(parents=True)
        for i in range(count):
            draw(100 * len(folder) + i, blob=blob)[0].save(tmp_path / "photos" / folder / f"{i}.png")
    shutil.copytree(trained, tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", ["own-photos", "thresholds", "augmentation", "train", "results"])
@pytest.mark.usefixtures("workplace")
def test_how_to_pages_run(page: str) -> None:
    run_blocks((DOCS / f"how-to/{page}.md").read_text(encoding="utf-8").replace(" RUN", " run"), command)


def test_the_readme_runs(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA", str(workplace / "data"))
    trees.mvtec(workplace / "data", "bottle")
    trees.visa(workplace / "data", "candle")
    shutil.copytree(workplace / "photos/bad", workplace / "new")
    run_blocks((ROOT / "README.md").read_text(encoding="utf-8"), command)
    for name in ("predicted", "predicted_int8"):
        assert len((workplace / name / "predictions.csv").read_text().splitlines()) == 1 + 2
    assert {path.parent.name for path in Path("results").glob("*/*/*/run-001")} == {"good", "bottle", "candle"}


def test_tiles_cover_the_photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("photos/good").mkdir(parents=True)
    Image.new("RGB", (1200, 700)).save("photos/good/a.png")
    Image.new("RGB", (512, 512)).save("photos/good/b.png")
    text = (DOCS / "how-to/large-images.md").read_text(encoding="utf-8")
    run_blocks(text[text.index("   ```python") : text.index("Train on `tiles")])
    corners = {tuple(map(int, file.stem.split("_")[1:])) for file in Path("tiles/good").glob("a_*.png")}
    assert corners == {(y, x) for y in (0, 188) for x in (0, 448, 688)}
    assert [file.name for file in Path("tiles/good").glob("b_*.png")] == ["b_0_0.png"]
    for file in Path("tiles/good").iterdir():
        with Image.open(file) as tile:
            assert tile.size == (512, 512)
