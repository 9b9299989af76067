"""A training of all categories of a dataset: a run of each, one table, and what failed or was stopped is made later."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import SMALL, without_images

from anomalib_flows.cli import main
from anomalib_flows.experiment.categories import METRICS, CategoryResult, CategoryResults, mean_of
from anomalib_flows.run.directory import Run

pytestmark = pytest.mark.filterwarnings("ignore:Too few calibration images")
TRAIN = ["train", *SMALL, "--data=mvtec", "--trainer.max_epochs=1", "--pictures=0"]


@pytest.fixture
def here(two_categories: Path) -> Path:
    """A folder with the categories ``a`` and ``b``."""
    return two_categories


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "results.csv").open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def test_each_category_has_a_run_and_a_row(here: Path, capsys) -> None:
    assert main(TRAIN) == 0
    folder = here / "results/fastflow/mvtec/all-001"
    rows = table(folder)
    assert [row["category"] for row in rows] == ["a", "b"]
    for row in rows:
        metrics = Run(Path(row["run"])).metrics()
        assert [float(row[f"{level}_{key}"]) for _, level, key in METRICS] == [metrics[lv][k] for _, lv, k in METRICS]
        assert not row["error"]
    said = capsys.readouterr().out
    (average,) = [line.split()[1:] for line in said.splitlines() if line.startswith("average ")]
    columns = [[float(row[f"{level}_{key}"]) for row in rows] for _, level, key in METRICS]
    assert average == [f"{np.mean(column):.4f}" for column in columns]
    assert f"| average | {' | '.join(average)} |" in (folder / "table.md").read_text()
    assert main(["runs"]) == 0
    listed = capsys.readouterr().out
    assert "fastflow/mvtec/a/all-001" in listed
    assert "fastflow/mvtec/all-001" not in listed
    assert main([*TRAIN, f"--data.root={here / 'datasets/mvtec'}"]) == 0
    assert (here / "results/fastflow/mvtec/b/all-002/metrics.json").is_file()
    assert main(["test", str(folder)]) == 2
    assert "name a run of its table, such as" in capsys.readouterr().err


def test_a_category_that_fails_does_not_stop_the_others(here: Path, capsys) -> None:
    with without_images(here / "datasets/mvtec/a/train/good"):
        assert main([*TRAIN, "--name=tables"]) == 2
    said = capsys.readouterr().err
    assert "1 of 2 categories failed (a)" in said
    folder = here / "results/fastflow/mvtec/tables"
    assert [bool(row["error"]) for row in table(folder)] == [True, False]
    assert (folder / "table.md").read_text().count(" - |") == 2 * len(METRICS)
    before = (here / "results/fastflow/mvtec/b/tables/metrics.json").stat().st_mtime_ns
    assert main(["train", "--resume", str(folder)]) == 0
    assert not any(row["error"] for row in table(folder))
    assert (here / "results/fastflow/mvtec/b/tables/metrics.json").stat().st_mtime_ns == before


def test_complete_runs_are_left_as_they_are_wherever_the_folder_is(here: Path, capsys) -> None:
    assert main(TRAIN) == 0
    moved = here / "moved"
    (here / "results").rename(moved)
    folder, run = moved / "fastflow/mvtec/all-001", moved / "fastflow/mvtec/a/all-001"
    assert main(["calibrate", str(run), "--threshold=0.6"]) == 0
    shutil.rmtree(moved / "fastflow/mvtec/b")
    before = (run / "model.safetensors").read_bytes()
    assert main(["train", "--resume", str(folder)]) == 0
    assert (run / "model.safetensors").read_bytes() == before
    assert [Path(row["run"]) for row in table(folder)] == [run, moved / "fastflow/mvtec/b/all-001"]
    assert (moved / "fastflow/mvtec/b/all-001/metrics.json").is_file()
    assert not (here / "results").exists()
    capsys.readouterr()
    for words in (["--trainer.max_epochs=2"], ["--model.steps=3"], ["--seed=1"]):
        assert main(["train", "--resume", str(folder), *words]) == 2
        said = capsys.readouterr().err
        assert said.startswith(f"error: {words[0].partition('=')[0]} cannot change when a run is resumed")
    assert main(["train", "--resume", str(run), "--data.category=all"]) == 2
    assert "--data.category cannot change" in capsys.readouterr().err


def test_without_test_images_a_run_is_complete_once_it_has_thresholds(here: Path) -> None:
    for name in ("a", "b"):
        shutil.rmtree(here / "datasets/mvtec" / name / "test")
    assert main(TRAIN) == 0
    models = [here / f"results/fastflow/mvtec/{name}/all-001/model.safetensors" for name in ("a", "b")]
    before = [model.stat().st_mtime_ns for model in models]
    assert main(["train", "--resume", str(here / "results/fastflow/mvtec/all-001")]) == 0
    assert [model.stat().st_mtime_ns for model in models] == before


@pytest.mark.skipif(os.name == "nt", reason="interrupts a process")
def test_a_stopped_training_says_how_to_continue(here: Path) -> None:
    words = [sys.executable, "-m", "anomalib_flows.cli", *TRAIN, "--trainer.max_epochs=1000"]
    started = subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    while started.poll() is None and not (here / "results/fastflow/mvtec/a/all-001/resume.ckpt").exists():
        time.sleep(0.05)
    started.send_signal(signal.SIGINT)
    said = started.communicate()[1]
    assert started.returncode == 130
    assert said.rstrip().endswith("To continue: anomalib-flows train --resume results/fastflow/mvtec/all-001")
    assert main(["runs"]) == 0  # the table is no run


@pytest.mark.skipif(os.name == "nt", reason="kills a process")
@pytest.mark.parametrize("second", [pytest.param(n, marks=pytest.mark.slow if n != 1 else ()) for n in range(10)])
def test_a_killed_training_goes_on(here: Path, second: int) -> None:
    assert main([*TRAIN, "--name=whole"]) == 0
    whole = table(here / "results/fastflow/mvtec/whole")
    folder = here / "results/fastflow/mvtec/killed"
    words = [sys.executable, "-m", "anomalib_flows.cli", *TRAIN, "--name=killed"]
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}  # which decides the last digits
    started = subprocess.Popen(words, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=environment)
    wanted = here / f"results/fastflow/mvtec/{'b' if second % 2 else 'a'}/killed"
    while started.poll() is None and not wanted.exists():
        time.sleep(0.01)
    time.sleep(0.2 * (second // 2))
    started.send_signal(signal.SIGKILL)
    started.wait()
    assert main(["train", "--resume", str(folder)]) == 0
    metrics = [f"{level}_{key}" for _, level, key in METRICS]
    assert [[row[m] for m in metrics] for row in table(folder)] == [[row[m] for m in metrics] for row in whole]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--data.root=datasets"], "datasets holds no categories of mvtec"),
        (["--name=a"], "--name a is the name of a category"),
        (["--name=taken"], "--name taken is taken"),
        (["--name=x", "--resume=results"], "is not a run"),
    ],
)
def test_bad_input_is_one_sentence(here: Path, capsys, options: list[str], said: str) -> None:
    (here / "results/fastflow/mvtec/a/taken").mkdir(parents=True)
    assert main([*TRAIN, *options]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_without_a_root_the_usual_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ANOMALIB_FLOWS_DATA", "elsewhere")
    assert main(TRAIN) == 2
    assert "no folder elsewhere/mvtec: name the folder of the dataset mvtec, or get it by" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_commands_take_the_newest_run(here: Path, capsys) -> None:
    assert main(["test"]) == 2
    assert "run must be given" in capsys.readouterr().err
    assert main([*TRAIN, "--data.category=a"]) == 0
    assert main([*TRAIN, "--data.category=b"]) == 0
    unfinished = here / "results/fastflow/mvtec/b/run-002"
    shutil.copytree(unfinished.with_name("run-001"), unfinished)
    (unfinished / "model.safetensors").unlink()
    capsys.readouterr()
    newest = Path("results/fastflow/mvtec/b/run-001")
    for words in (["report", "--animate"], ["test", "--pictures", "0"]):
        assert main(words) == 0
        assert capsys.readouterr().out.startswith(f"Run: {newest}, the newest one\n")


def test_a_missing_metric_has_no_mean() -> None:
    assert mean_of([0.5, None]) is None
    assert mean_of([]) is None
    results = (CategoryResult("a", Path(), (1.0, 1.0, None, 0.5)), CategoryResult("b", Path(), (0.5, 0.0, 1.0, 0.5)))
    assert CategoryResults(Path(), results).rows()[-1] == ["average", "0.7500", "0.5000", "-", "0.5000"]
