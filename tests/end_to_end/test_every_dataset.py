"""Train on a small tree of every registered dataset, from the command line to the pictures."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from sklearn.metrics import roc_auc_score
from tiny import SMALL

from anomalib_flows.cli import main
from anomalib_flows.core.types import NORMAL
from anomalib_flows.data.datasets import synthetic
from anomalib_flows.data.splits import read_splits
from anomalib_flows.run.directory import Run
from trees import CASES, SEVERAL, Options, case_name

pytestmark = pytest.mark.filterwarnings("always")  # the command line prints them


@pytest.mark.parametrize(("name", "make"), [*CASES, ("mvtec", SEVERAL["mvtec"])], ids=case_name)
def test_training_ends_with_figures_and_pictures(
    name: str,
    make: Callable[[Path], Options],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for count in ("TRAIN_GOOD", "TEST_GOOD", "TEST_DEFECTIVE"):
        monkeypatch.setattr(synthetic, count, 4)
    options = [f"--data={name}", *(f"--data.{key}={as_typed(value)}" for key, value in make(tmp_path / "data").items())]
    rest = ["--model.steps=1", "--trainer.max_epochs=1", f"--output={tmp_path / 'results'}"]
    assert main(["train", *SMALL, *options, *rest]) == 0
    [path] = (tmp_path / "results").rglob("run-001")
    run = Run(path)
    tested = [sample for sample in read_splits(run.splits_file) if sample.split == "test"]
    metrics = run.metrics()
    if not tested:
        assert metrics is None
        assert "There are no test images, so nothing was tested." in capsys.readouterr().out
        return
    assert metrics is not None
    labels = {str(sample.path): sample.label for sample in tested}
    with run.predictions_file.open(newline="") as stream:
        predicted = list(csv.DictReader(stream))
    auroc = roc_auc_score([labels[row["path"]] for row in predicted], [float(row["raw_score"]) for row in predicted])
    assert metrics["image"]["auroc"] == pytest.approx(auroc)
    assert metrics["image"]["normal_images"] == sum(sample.label == NORMAL for sample in tested)
    assert metrics["defects"].keys() == {sample.defect for sample in tested if sample.label != NORMAL}
    assert (metrics["pixel"]["auroc"] is not None) == any(sample.mask for sample in tested)
    assert len(list(run.images.rglob("*.jpg"))) == len(tested)


def as_typed(value: object) -> object:
    """Write a value as a user types it."""
    return f"[{','.join(map(str, value))}]" if isinstance(value, list) else value


def test_images_of_the_same_content_are_not_parted_and_leaks_are_said(tree: Path, tmp_path: Path, capsys) -> None:
    folder = tmp_path / "stripes"
    shutil.copytree(tree / "stripes", folder)
    good = folder / "train/good"
    for i in range(8):
        shutil.copy(good / f"{i}.png", good / f"again {i}.png")
    shutil.copy(good / "5.png", folder / "test/good/known.png")
    data = ["--data=mvtec", f"--data.root={tmp_path}", "--data.category=stripes", "--trainer.max_epochs=1"]
    assert main(["train", *SMALL, *data, f"--output={tmp_path}", "--split.calibration_fraction=0.4"]) == 0
    warnings = [line for line in capsys.readouterr().err.splitlines() if "same content" in line]
    assert len(warnings) == 1
    assert "1 images of the split test" in warnings[0]
    run = tmp_path / "fastflow/mvtec/stripes/run-001"
    used = {s.path.name: s.split for s in read_splits(run / "splits.csv") if s.path.parent == good}
    assert all(used[f"{i}.png"] == used[f"again {i}.png"] for i in range(8))
    assert set(used.values()) == {"train", "calibration"}
