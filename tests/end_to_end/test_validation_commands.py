"""A validation set of held-out normal images and drawn defects, as a user asks for it."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
from safetensors.numpy import load_file
from sklearn.metrics import roc_auc_score
from tiny import SMALL, draw

from anomalib_flows.cli import main
from anomalib_flows.data.splits import draw_defects
from anomalib_flows.experiment import train as experiment

pytestmark = pytest.mark.filterwarnings("always")  # the command line prints them


def rows(table: Path) -> list[dict[str, str]]:
    with table.open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of good images, and nothing else."""
    folder = tmp_path_factory.mktemp("photos") / "good"
    folder.mkdir()
    for i in range(16):
        draw(i)[0].save(folder / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def validated(good: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, not to be changed."""
    output = tmp_path_factory.mktemp("results")
    data = ["--data=folder", f"--data.normal={good}", "--split.validation_fraction=0.4"]
    assert main(["train", *SMALL, *data, "--trainer.max_epochs=1", f"--output={output}"]) == 0
    return output / "fastflow/folder/good/run-001"


def test_its_lists_are_saved_and_apart(validated: Path, good: Path) -> None:
    splits = rows(validated / "splits.csv")
    normal = [row for row in splits if row["label"] == "0"]
    assert len({row["path"] for row in normal}) == len(normal) == 16
    assert [sum(row["split"] == s for row in normal) for s in ("train", "calibration", "validation")] == [8, 2, 6]
    drawn = [row for row in splits if row["label"] == "1"]
    assert len(drawn) == 6
    assert all(row["split"] == "validation" and Path(row["mask"]).is_file() for row in drawn)
    assert {Path(row["path"]).parents[4] for row in drawn} == {validated}


def test_its_figures_are_apart_from_the_tests(validated: Path) -> None:
    metrics = json.loads((validated / "validation/metrics.json").read_text())
    assert (metrics["image"]["normal_images"], metrics["image"]["anomalous_images"]) == (6, 6)
    assert metrics["pixel"]["masked_images"] == 6
    expected = {row["path"]: int(row["label"]) for row in rows(validated / "splits.csv")}
    predicted = rows(validated / "validation/predictions.csv")
    auroc = roc_auc_score([expected[row["path"]] for row in predicted], [float(row["raw_score"]) for row in predicted])
    assert metrics["image"]["auroc"] == pytest.approx(auroc)
    assert metrics["anomalies"] == "drawn"
    assert not (validated / "metrics.json").exists(), "there is nothing to test on"
    assert len(rows(validated / "validation/predictions.csv")) == 12
    figures = {file.parent.name for file in (validated / "validation/images").rglob("*.jpg")}
    assert figures == {"good", *metrics["defects"]}


def test_the_summary_says_what_they_are_worth(validated: Path, tmp_path: Path, capsys) -> None:
    run = Path(shutil.copytree(validated, tmp_path / "run"))
    assert main(["test", str(run)]) == 0
    shown = capsys.readouterr().out
    assert "drawn defects" in shown
    assert "promise nothing for real defects" in shown
    assert (run / "validation/metrics.json").read_bytes() == (validated / "validation/metrics.json").read_bytes()


def test_it_never_influences_what_the_model_decides(train, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other defects, on the same held-out images, leave model and thresholds as they are."""
    options = ("--trainer.max_epochs=1", "--split.validation_fraction=0.4")
    first = train(*options)
    monkeypatch.setattr(
        experiment, "draw_defects", lambda samples, folder, seed: draw_defects(samples, folder, seed + 1)
    )
    second = train(*options)
    weights = [load_file(run / "model.safetensors") for run in (first, second)]
    assert all((weights[0][name] == weights[1][name]).all() for name in weights[0])
    figures = [(run / "validation/metrics.json").read_bytes() for run in (first, second)]
    assert figures[0] != figures[1]
    assert (first / "metrics.json").read_bytes() == (second / "metrics.json").read_bytes()
    held_out = sum(row["split"] == "calibration" for row in rows(first / "splits.csv"))
    assert len(weights[0]["postprocess.calibration_scores"]) == held_out


def test_a_resumed_run_keeps_it(validated: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(validated, tmp_path / "run"))
    assert main(["train", "--resume", str(run), "--trainer.max_epochs=2"]) == 0
    assert rows(run / "splits.csv") == rows(validated / "splits.csv")
    assert (run / "validation/metrics.json").read_bytes() != (validated / "validation/metrics.json").read_bytes()


def test_a_run_that_was_moved_says_what_is_gone(good: Path, validated: Path, tmp_path: Path, capsys) -> None:
    run = Path(shutil.copytree(validated, tmp_path / "run"))
    text = (run / "splits.csv").read_text()
    (run / "splits.csv").write_text(text.replace(str(validated), str(tmp_path / "elsewhere")))
    assert main(["test", str(run)]) == 2
    printed = capsys.readouterr()
    assert "6 of its images are missing" in printed.out
    assert "no test images" in printed.err


@pytest.fixture(scope="module")
def tested(train) -> Path:
    """A finished run with test images too, not to be changed."""
    return train("--trainer.max_epochs=1", "--split.validation_fraction=0.4")


def test_figures_of_an_earlier_validation_are_not_shown_as_new(tested: Path, tmp_path: Path, capsys) -> None:
    run = Path(shutil.copytree(tested, tmp_path / "run"))
    text = (run / "splits.csv").read_text()
    (run / "splits.csv").write_text(text.replace(str(tested), str(tmp_path / "elsewhere")))
    capsys.readouterr()
    assert main(["test", str(run)]) == 0
    printed = capsys.readouterr().out
    assert "Left out the validation" in printed
    assert "Validation, on" not in printed


def test_the_validation_of_a_run_is_of_its_own_dataset(tested: Path, tree: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(tested, tmp_path / "run"))
    shutil.copytree(tree / "stripes", tmp_path / "others")
    other = [f"--data.root={tmp_path}", "--data.category=others"]
    assert main(["test", str(run), "--data=mvtec", *other]) == 0
    subsets = [json.loads((run / part / "metrics.json").read_text())["subset"] for part in ("", "validation")]
    assert subsets == ["others", "stripes"]


def test_defects_of_the_datasets_own_are_validated_with_as_they_are(validated: Path, tmp_path: Path, capsys) -> None:
    """The list of a run, given back, brings the defects that were drawn for it."""
    data = ["--data=folder", f"--data.table={validated / 'splits.csv'}"]
    assert main(["train", *SMALL, *data, "--trainer.max_epochs=1", f"--output={tmp_path}"]) == 0
    run = tmp_path / "fastflow/folder/splits/run-001"
    assert not (run / "validation/drawn").exists()
    metrics = json.loads((run / "validation/metrics.json").read_text())
    assert (metrics["image"]["normal_images"], metrics["image"]["anomalous_images"]) == (6, 6)
    assert metrics["anomalies"] == "drawn", "they still are no real ones"
    assert "promise nothing for real defects" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--split.validation_fraction=0.1"], ["--split.validation_fraction 0.1", "7 training images", "too few"]),
        (["--split.validation_fraction=1"], ["--split.validation_fraction", "share"]),
        (["--split.validation_fraction=0.5", "--protocol=paper"], ["--split.validation_fraction", "--protocol paper"]),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_written(tree: Path, tmp_path: Path, capsys, options, words) -> None:
    data = ["--data=mvtec", f"--data.root={tree}", "--data.category=stripes", f"--output={tmp_path}"]
    assert main(["train", *SMALL, *data, *options]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert all(word in line for word in words), line
    assert not list(tmp_path.iterdir())
