"""Photos that are scaled down a lot are warned of once, and those of too many pixels are refused, by every command."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from tiny import SMALL

from anomalib_flows.cli import main
from tiny_export import write

pytestmark = pytest.mark.filterwarnings("always")  # the command line prints them


@pytest.fixture(scope="module")
def large(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny product in photos of 320 x 360 pixels."""
    root = tmp_path_factory.mktemp("large")
    for file in tree.rglob("*.png"):
        target = root / file.relative_to(tree)
        target.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(file) as image:
            image.resize((360, 320), Image.Resampling.NEAREST).save(target)
    return root


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]):
    """Run a command line; return its exit code, and the lines of its output that are warnings and errors."""

    def run(*arguments: object) -> tuple[int, list[str]]:
        capsys.readouterr()
        code = main([str(a) for a in arguments])
        read = capsys.readouterr()
        return code, [
            line for line in (read.out + read.err).splitlines() if line.startswith(("warning", "error", "fault"))
        ]

    return run


def about(count: str, advice: str = "A model trained with {} 256 sees those from about 11 x 11 pixels on.") -> str:
    return (
        f"warning: {count} photos are scaled down more than fourfold, up to 5.6-fold: there, defects smaller than "
        f"about 45 x 45 pixels of the photo are likely missed. {advice}"
    )


def test_data_check_warns_of_the_scale_at_the_size_that_is_asked_for(said, large: Path, tmp_path: Path) -> None:
    command = ["data", "check", large / "stripes", "--output", tmp_path]
    assert said(*command) == (0, [])
    assert said(*command, "--image.size=64") == (0, [about("14 of 14").format("--image.size")])
    assert said(*command, "--image.size=64", "--image.resize=pad")[1] == [about("14 of 14").format("--image.size")]
    assert "up to 11.2-fold" in said(*command, "--image.size=64,32")[1][0]


def test_train_and_predict_warn_once_of_all_photos(
    said, large: Path, trained: Path, tree: Path, tmp_path: Path
) -> None:
    data = ["--data=mvtec", f"--data.root={large}", "--data.category=stripes", "--trainer.max_epochs=1"]
    code, lines = said("train", *SMALL, *data, f"--output={tmp_path / 'runs'}")
    assert code == 0
    assert [line for line in lines if "scaled down" in line] == [about("14 of 14").format("--image.size")]
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "0.png").symlink_to(large / "stripes/test/blob/0.png")
    (photos / "1.png").symlink_to(tree / "stripes/test/blob/0.png")
    code, lines = said("predict", trained, "--input", photos, "--output", tmp_path / "out")
    assert code == 0
    assert [line for line in lines if "scaled down" in line] == [about("1 of 2").format("image.size")]
    code, lines = said("predict", trained, "--input", tree / "stripes/test", "--output", tmp_path / "small")
    assert not [line for line in lines if "scaled down" in line]


def test_predict_warns_with_an_exported_model_as_well(said, large: Path, tmp_path: Path) -> None:
    model = write(tmp_path / "model.xml")  # of 8 x 12 pixels
    code, lines = said("predict", model, "--input", large / "stripes/test/good", "--output", tmp_path / "out")
    assert code == 0
    (line,) = [line for line in lines if "scaled down" in line]
    assert line.startswith("warning: 3 of 3 photos are scaled down more than fourfold, up to 40.0-fold")
    assert "A model trained with image.size 160,256 sees those from about 16 x 16 pixels on." in line


def test_the_limit_of_pixels_is_an_option_of_each_command(said, large: Path, trained: Path, tmp_path: Path) -> None:
    folder, file = large / "stripes", large / "stripes/test/blob/0.png"
    fault = "has 0.1152 million pixels, but {} is 0.1: raise it if memory suffices (0.0029 GB), or cut the image into"
    data = ["--data=mvtec", f"--data.root={large}", "--data.category=stripes", "--trainer.max_epochs=1"]
    loader, new = "--loader.max_megapixels", ["--output", tmp_path / "new"]
    for command, option in (
        (["train", *SMALL, *data, *new], loader),
        (["predict", trained, "--input", file, *new], loader),
        (["predict", write(tmp_path / "model.xml"), "--input", file, *new], loader),
        (["test", trained, *data[:3]], loader),
        (["calibrate", trained, "--images", folder / "test/good"], loader),
        (["export", trained, "--format=torch", "--images", folder / "test/good", *new], "--max-megapixels"),
        (["data", "check", folder, *new], "--max-megapixels"),
    ):
        code, lines = said(*command, f"{option}=0.1")
        assert code == 2
        assert any(fault.format(option) in line for line in lines), (command, lines)
        assert "above 0, in millions of pixels" in said(*command, f"{option}=0")[1][-1]
    assert said("data", "check", folder, *new, "--max-megapixels=0.12") == (0, [])
