"""Images are known by their content, own pictures are never input, and what is left out is said."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny import SMALL, draw

from anomalib_flows.cli import main
from anomalib_flows.data.splits import read_splits

pytestmark = pytest.mark.filterwarnings("always")  # the command line prints them

SHORT = [*SMALL, "--trainer.max_epochs=1", "--image.size=32"]


@pytest.fixture
def moved(trained: Path, tree: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A copy of a run, and a copy of its dataset in another place."""
    run = tmp_path / "results/run-001"
    shutil.copytree(trained, run)
    shutil.copytree(tree, tmp_path / "elsewhere")
    return run, tmp_path / "elsewhere"


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with good photos in it."""
    folder = tmp_path / "work"
    folder.mkdir()
    for i in range(8):
        draw(i)[0].save(folder / f"{i}.png")
    monkeypatch.chdir(folder)
    return folder


def error_of(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == 2
    return capsys.readouterr().err


def labels(file: Path) -> dict[str, str]:
    with file.open(newline="") as stream:
        return {Path(row["path"]).name: row["raw_score"] for row in csv.DictReader(stream)}


@pytest.mark.parametrize("how", ["copy", "link", "moved", "renamed", "without digests"])
def test_copies_of_training_photos_do_not_calibrate(moved, tmp_path: Path, capsys, how: str) -> None:
    run, root = moved
    source, offered = root / "stripes/train/good", tmp_path / "offered"
    if how == "without digests":  # a run of an earlier version, whose dataset is where it was
        lines = (run / "splits.csv").read_text().splitlines()
        (run / "splits.csv").write_text("".join(f"{line.rpartition(',')[0]}\n" for line in lines))
    if how == "link":
        offered.symlink_to(source)
    elif how == "moved":
        source.rename(offered)
    else:
        offered.mkdir()
        for i, file in enumerate(sorted(source.iterdir())):
            shutil.copy(file, offered / (f"new {i}.png" if how == "renamed" else file.name))
    model = (run / "model.safetensors").read_bytes()
    error = error_of(capsys, "calibrate", run, "--images", offered)
    assert "images that the detector was trained on" in error
    assert "here or as copies" in error
    assert (run / "model.safetensors").read_bytes() == model


def test_a_run_is_tested_where_its_dataset_is_now(moved, trained: Path, capsys) -> None:
    run, root = moved
    extra = root / "stripes/test/good/copy of a training image.png"
    (file,) = [s.path for s in read_splits(run / "splits.csv") if s.path.name == "1.png" and "train" in s.path.parts]
    shutil.copy(file, extra)
    capsys.readouterr()
    assert main(["test", str(run), f"--data.root={root}"]) == 0
    assert "Left out 1 test images" in capsys.readouterr().out
    assert labels(run / "predictions.csv") == labels(trained / "predictions.csv")


def test_a_relative_root_is_no_way_around_it(moved, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    run, root = moved
    (file,) = [s.path for s in read_splits(run / "splits.csv") if s.path.name == "1.png" and "train" in s.path.parts]
    shutil.copy(file, root / "stripes/test/good/copy.png")
    monkeypatch.chdir(root)
    assert main(["test", str(run), "--data.root=."]) == 0
    assert "copy.png" not in labels(run / "predictions.csv")
    assert len(labels(run / "predictions.csv")) == 3  # good and defective images have the same names


@pytest.mark.parametrize("option", ["--images", "--defects"])
def test_copies_of_test_photos_that_set_thresholds_are_no_test(moved, tmp_path: Path, capsys, option: str) -> None:
    run, root = moved
    given = tmp_path / "given"
    given.mkdir()
    kind = "good" if option == "--images" else "blob"
    shutil.copy(root / f"stripes/test/{kind}/1.png", given / "copy.png")
    assert main(["calibrate", str(run), option, str(given)]) == 0
    capsys.readouterr()
    assert main(["test", str(run), f"--data.root={root}"]) == 0
    assert "Left out 1 test images" in capsys.readouterr().out


@pytest.mark.parametrize(("option", "inner"), [("--images", "bad"), ("--images", "masks"), ("--defects", "good")])
def test_words_count_in_calibrate_too(moved, tmp_path: Path, capsys, option: str, inner: str) -> None:
    run, _ = moved
    (tmp_path / "new" / inner).mkdir(parents=True)
    draw(400)[0].save(tmp_path / "new" / inner / "1.png")
    draw(401)[0].save(tmp_path / "new/2.png")
    assert f"{tmp_path / 'new' / inner}: name folders of" in error_of(
        capsys, "calibrate", run, option, tmp_path / "new"
    )


def test_a_photo_is_not_both_good_and_a_defect(moved, tmp_path: Path, capsys) -> None:
    run, _ = moved
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        draw(400)[0].save(tmp_path / name / f"{name}.png")
    draw(401)[0].save(tmp_path / "one/other.png")
    error = error_of(capsys, "calibrate", run, "--images", tmp_path / "one", "--defects", tmp_path / "two")
    assert "are also among" in error


def test_what_is_left_out_of_calibration_images_is_said_once(moved, tmp_path: Path, capsys) -> None:
    run, _ = moved
    for name in ("good", "cut"):
        (tmp_path / name).mkdir()
    draw(400)[0].save(tmp_path / "good/1.png")
    draw(401, blob=True)[0].save(tmp_path / "cut/1.png")
    (tmp_path / "good/2.heic").touch()
    options = ["--images", str(tmp_path / "good"), "--defects", str(tmp_path / "cut"), "--max-missed=0"]
    main(["calibrate", str(run), *options])  # whether a threshold is found does not matter
    assert capsys.readouterr().err.count("left out 1 .heic file") == 1


def test_drawn_defects_move_with_their_run(train, tmp_path: Path) -> None:
    run = train("--trainer.max_epochs=1", "--split.validation_fraction=0.3")
    here = shutil.move(run, tmp_path / "moved")
    assert main(["train", "--resume", str(here), "--trainer.max_epochs=2"]) == 0
    drawn = [s for s in read_splits(Path(here) / "splits.csv") if "drawn" in s.path.parts]
    assert drawn
    assert all(s.path.is_relative_to(here) and s.mask and s.mask.is_file() for s in drawn)


def test_a_run_is_resumed_where_its_dataset_is_now(train, tree: Path, tmp_path: Path) -> None:
    here = tmp_path / "data"
    shutil.copytree(tree, here)
    run = train("--trainer.max_epochs=1", f"--data.root={here}")
    here.rename(tmp_path / "moved")
    assert main(["train", "--resume", str(run), "--trainer.max_epochs=2", f"--data.root={tmp_path / 'moved'}"]) == 0
    listed = read_splits(run / "splits.csv")
    assert all(sample.path.is_file() and sample.path.is_relative_to(tmp_path / "moved") for sample in listed)
    same = train("--trainer.max_epochs=2")
    assert (run / "model.safetensors").read_bytes() == (same / "model.safetensors").read_bytes()


def test_other_images_do_not_continue_a_run(train, tree: Path, tmp_path: Path, capsys) -> None:
    run = train("--trainer.max_epochs=1")
    other = tmp_path / "other/stripes/train/good"
    other.mkdir(parents=True)
    for i in range(8):
        draw(50 + i)[0].save(other / f"{i}.png")
    error = error_of(capsys, "train", "--resume", run, "--trainer.max_epochs=2", f"--data.root={tmp_path / 'other'}")
    assert "images of" in error
    assert "are not in the dataset" in error


def test_a_second_training_in_the_folder_of_photos_has_the_same_images(photos: Path, capsys) -> None:
    options = ["train", *SHORT, "--data=folder", "--data.normal=.", "--split.validation_fraction=0.3"]
    assert main(options) == 0
    first = read_splits(photos / "results/fastflow/folder/work/run-001/splits.csv")
    assert main(["predict", "results/fastflow/folder/work/run-001", "--input=.", "--output=predicted"]) == 0
    assert main(["data", "check", "--data=folder", "--data.normal=."]) == 0
    capsys.readouterr()
    assert main(options) == 0
    second = read_splits(photos / "results/fastflow/folder/work/run-002/splits.csv")
    assert [(s.path.name, s.split) for s in first] == [(s.path.name, s.split) for s in second]
    assert "folders of results of anomalib-flows" in capsys.readouterr().err


def test_predictions_below_the_input_are_no_input(photos: Path, trained: Path, capsys) -> None:
    for output in ("out-1", "out-2"):
        assert main(["predict", str(trained), "--input=.", f"--output={output}"]) == 0
        assert len(labels(photos / output / "predictions.csv")) == 8
    error = error_of(capsys, "predict", trained, "--input=out-1/overlay", "--output=out-3")
    assert "out-1/overlay has no images, only 1 folder of results of anomalib-flows" in error


def test_small_defects_keep_a_pixel_and_count(tmp_path: Path, capsys) -> None:
    rng = np.random.default_rng(0)
    for split, names in {"train/good": range(4), "test/good": range(2), "test/spot": range(4)}.items():
        for i in names:
            file = tmp_path / "part" / split / f"{i}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(90, 110, (300, 300, 3), np.uint8)
            if "spot" in split:
                mask = np.zeros((300, 300), np.uint8)
                mask[100 + i : 102 + i, 51 * i : 51 * i + 2] = 255
                pixels[mask > 0] = 250
                (tmp_path / "part/ground_truth/spot").mkdir(parents=True, exist_ok=True)
                Image.fromarray(mask).save(tmp_path / f"part/ground_truth/spot/{i}_mask.png")
            Image.fromarray(pixels).save(file)
    root = ["--data=mvtec", f"--data.root={tmp_path}", "--data.category=part", f"--output={tmp_path / 'results'}"]
    assert main(["train", *SHORT, *root]) == 0
    from anomalib_flows.data.loading.loader import read_resized
    from anomalib_flows.run.options import ImageOptions

    listed = read_splits(next((tmp_path / "results").rglob("splits.csv")))
    masks = [read_resized(s, ImageOptions(size=32)).mask for s in listed if s.mask]
    assert [int(mask.sum()) for mask in masks if mask is not None] == [1] * 4
    assert "empty" not in capsys.readouterr().err


@pytest.mark.parametrize("command", ["train", "check"])
@pytest.mark.parametrize("kind", ["compressed", "inverted", "classes"])
def test_odd_masks_are_named(tmp_path: Path, tree: Path, capsys, command: str, kind: str) -> None:
    root = tmp_path / "data"
    shutil.copytree(tree, root)
    for file in (root / "stripes/ground_truth/blob").iterdir():
        mask = Image.open(file)
        if kind == "compressed":
            mask.save(file.with_suffix(".jpg"), quality=40)
            Image.open(file.with_suffix(".jpg")).save(file)
            file.with_suffix(".jpg").unlink()
        else:
            values = np.asarray(mask)
            Image.fromarray(255 - values if kind == "inverted" else (values > 0) * np.uint8(3)).save(file)
    data = ["--data=mvtec", f"--data.root={root}", "--data.category=stripes", f"--output={tmp_path / 'results'}"]
    assert main(["train", *SHORT, *data] if command == "train" else ["data", "check", *data]) == 0
    said = "".join(capsys.readouterr())
    assert ("have more than 16 different values" in said) == (kind == "compressed")
    assert kind == "compressed" or ("mark more than half of their image" in said) == (kind == "inverted")


def test_pages_of_a_file_are_counted(tmp_path: Path, capsys) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(4):
        draw(i)[0].save(folder / f"{i}.tiff", save_all=True, append_images=[draw(9)[0]] * i)
    assert main(["data", "check", "--data=folder", f"--data.normal={folder}", f"--output={tmp_path / 'out'}"]) == 0
    assert "3 files have several pages, of which the first is read and 6 are not" in capsys.readouterr().out


def test_at_most_five_lines_say_what_is_left_out(tmp_path: Path, capsys) -> None:
    folders = [tmp_path / f"good-{i}" for i in range(9)]
    for i, folder in enumerate(folders):
        folder.mkdir()
        draw(i)[0].save(folder / "1.png")
        (folder / "1.heic").touch()
    normal = f"--data.normal=[{','.join(map(str, folders))}]"
    assert main(["train", *SHORT, "--data=folder", normal, f"--output={tmp_path / 'results'}"]) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if "left out" in line]
    assert len(lines) == 5
    assert lines[-1] == "warning: Files of 5 more folders are left out: 'anomalib-flows data check' lists them."


def test_frames_of_one_video_in_two_splits_are_named(tmp_path: Path, tree: Path, capsys) -> None:
    root = tmp_path / "data"
    shutil.copytree(tree, root)
    rng = np.random.default_rng(0)
    scene = np.kron(rng.integers(0, 255, (8, 9, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    for name in ("train/good/a.png", "test/good/b.png"):
        noisy = (scene + rng.normal(0, 3, scene.shape)).clip(0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(root / "stripes" / name)
    assert main(["data", "check", str(root / "stripes"), f"--output={tmp_path / 'out'}"]) == 0
    said = capsys.readouterr().out
    assert "look nearly the same as one of another split" in said
    assert "test/good/b.png (test) ~ " in said or "train/good/a.png (train) ~ " in said
