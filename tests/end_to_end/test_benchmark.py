"""``benchmark``: a grid of runs, kept one by one, continued after any interruption, and its tables."""

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
import yaml
from tiny import without_images

from anomalib_flows.benchmark.results import METRICS, read_results
from anomalib_flows.cli import main
from anomalib_flows.models.checkpoint import load_pipeline
from anomalib_flows.run.directory import Run

pytestmark = [
    pytest.mark.filterwarnings("ignore:Too few calibration images"),
    pytest.mark.skipif(os.name == "nt", reason="processes are copied"),
]
OPTIONS = {
    "model.backbone": "test_efficientnet",
    "model.weights": "random",
    "model.steps": 2,
    "image.size": 32,
    "trainer.max_epochs": 1,
    "trainer.accelerator": "cpu",
}
FOLDER = Path("results/benchmark")


@pytest.fixture
def here(two_categories: Path) -> Path:
    """A folder with two categories and a grid of eight runs."""
    write_grid()
    return two_categories


def write_grid(**changed: object) -> None:
    models = ["fastflow", {"name": "slow", "config": "cflow", "options": {"model.vectors_per_step": 4}}]
    grid = {"models": models, "datasets": "mvtec", "seeds": [0, 1], "options": OPTIONS} | changed
    Path("grid.yaml").write_text(yaml.safe_dump(grid))


def rows(folder: Path = FOLDER) -> list[dict[str, str]]:
    with (folder / "results.csv").open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def figures(folder: Path = FOLDER) -> list[list[str]]:
    """What does not depend on time."""
    return [[v for k, v in row.items() if k not in ("seconds", "latency_ms", "run")] for row in rows(folder)]


def test_a_grid_is_run_once_and_gives_its_tables(here: Path, capsys) -> None:
    assert main(["benchmark", "-c", "grid.yaml", "--plan"]) == 0
    assert "runs        8; 0 are complete" in capsys.readouterr().out
    assert not FOLDER.exists()
    assert main(["benchmark", "-c", "grid.yaml", "--workers=2"]) == 0
    found = rows()
    assert [(row["category"], row["model"], row["seed"]) for row in found] == [
        (category, model, seed) for category in "ab" for model in ("fastflow", "slow") for seed in "01"
    ]
    for row in found:
        metrics = Run(FOLDER / row["run"]).metrics()
        wanted = [metrics[level][key] for level, key in (name.split("_", 1) for name in METRICS)]
        assert [float(row[name]) for name in METRICS] == wanted
        assert not row["error"]
        assert float(row["seconds"]) > 0
    measured = [row for row in found if row["latency_ms"]]
    assert [row["model"] for row in measured] == ["fastflow", "slow"]
    for row in measured:
        detector = load_pipeline(FOLDER / row["run"] / "model.safetensors").detector
        assert int(row["parameters"]) == sum(p.numel() for p in detector.parameters() if p.requires_grad)
    said = capsys.readouterr().out
    of_seeds = [np.mean([float(r["image_auroc"]) for r in found[i:8:4]]) for i in (0, 1)]
    assert f"{np.mean(of_seeds):.3f} ± {np.std(of_seeds, ddof=1):.3f}" in said
    for name in ("table.md", "table.html", "table.tex"):
        assert f"{np.mean(of_seeds):.3f}" in (FOLDER / name).read_text()

    before = {row["run"]: (FOLDER / row["run"] / "model.safetensors").stat().st_mtime_ns for row in found}
    shutil.rmtree(FOLDER / found[3]["run"])
    write_grid(seeds=[0, 1, 2], categories="a")
    assert main(["benchmark", "-c", "grid.yaml"]) == 0
    assert "runs        6; 3 are complete" in capsys.readouterr().out
    for row in rows()[:2]:
        assert (FOLDER / row["run"] / "model.safetensors").stat().st_mtime_ns == before[row["run"]]
    assert main(["benchmark", "table", str(FOLDER), "--output", "tables"]) == 0
    assert (here / "tables/table.md").read_text() == (FOLDER / "table.md").read_text()
    assert main(["runs", str(FOLDER)]) == 0
    assert "fastflow/mvtec/b/fastflow-seed1" in capsys.readouterr().out


def test_a_failing_run_is_recorded_and_does_not_stop_the_others(here: Path, capsys) -> None:
    words = ["benchmark", "-c", "grid.yaml", "--seeds=0"]
    with without_images(here / "datasets/mvtec/a/train/good"):
        assert main(words) == 2
    captured = capsys.readouterr()
    assert "2 of 4 runs failed, the first one (fastflow, a, seed 0)" in captured.err
    assert "Traceback" not in captured.err
    assert [bool(row["error"]) for row in rows()] == [True, True, False, False]
    assert "| a | - | - |" in (FOLDER / "table.md").read_text()
    assert "| average | - | - |" in (FOLDER / "table.md").read_text()
    assert main(words) == 0
    assert not any(row["error"] for row in rows())


def test_validation_needs_no_defects_and_leaves_the_test_images(here: Path, capsys) -> None:
    write_grid(categories="a", seeds=0, options=OPTIONS | {"split.validation_fraction": 0.4})
    assert main(["benchmark", "-c", "grid.yaml", "--select=validation"]) == 0
    found = read_results(FOLDER / "results.csv")
    assert {result.split for result in found} == {"validation"}
    assert not any(Run(FOLDER / result.run).metrics_file.exists() for result in found)
    best = max(found, key=lambda result: (result.image_auroc or 0) + (result.pixel_aupro or 0))
    assert f"Best: {best.model}. Its mean of image AUROC and AUPRO" in capsys.readouterr().out
    assert "held-out good images with drawn defects" in (FOLDER / "table.md").read_text()


def test_the_printed_grid_is_the_same_grid(here: Path, capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["benchmark", "-c", "grid.yaml", "--seeds=5", "--print-config"])
    assert stopped.value.code in (0, None)
    Path("printed.yaml").write_text(capsys.readouterr().out)
    for file, words in (("grid.yaml", ["--seeds=5"]), ("printed.yaml", [])):
        assert main(["benchmark", "-c", file, *words, "--plan"]) == 0
    first, second = capsys.readouterr().out.split("time  ")[:2]
    assert first.splitlines()[:4] == second.splitlines()[1:5]


def test_a_stopped_benchmark_says_how_to_continue(here: Path) -> None:
    words = [sys.executable, "-m", "anomalib_flows.cli", "benchmark", "-c", "grid.yaml"]
    started = subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    while started.poll() is None and not list(Path(FOLDER, "logs").glob("*.txt")):
        time.sleep(0.05)
    started.send_signal(signal.SIGINT)
    assert started.communicate()[1].rstrip().endswith("Stopped. To continue, type the same command again.")
    assert started.returncode == 130


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[list[str]]]:
    """Results of a benchmark that nothing disturbed."""
    return {}


@pytest.mark.parametrize("moment", [pytest.param(n, marks=pytest.mark.slow if n != 4 else ()) for n in range(20)])
def test_a_killed_benchmark_continues(here: Path, whole: dict[str, list[list[str]]], moment: int) -> None:
    words = ["benchmark", "-c", "grid.yaml", "--workers=2"]
    if not whole:
        assert main([*words, "--output=whole"]) == 0
        whole["figures"] = figures(Path("whole"))
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    started = subprocess.Popen(
        [sys.executable, "-m", "anomalib_flows.cli", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
    )
    while started.poll() is None and not (FOLDER / "results.csv").exists():
        time.sleep(0.01)
    time.sleep(6 + float(np.random.default_rng(moment).uniform(0, 10)))
    started.send_signal(signal.SIGKILL)
    started.wait()
    assert main(words) == 0
    assert figures() == whole["figures"]
    assert not [file for file in here.rglob(".anomalib-flows*") if file.is_dir()]


@pytest.mark.parametrize(
    ("changed", "words", "said"),
    [
        ({"categories": "c"}, [], "--categories: There is no category 'c': there are a, b."),
        ({"models": "fastflo"}, [], "--models: There is no configuration 'fastflo'"),
        ({"models": [{"name": "x", "confg": "cflow"}]}, [], "--models has no key 'confg': it takes config and name"),
        ({"datasets": "mvtek"}, [], "--datasets: There is no dataset 'mvtek'"),
        ({"backbones": "resnet1"}, [], "There is no backbone 'resnet1': did you mean"),
        ({"seeds": "0,x"}, [], "--seeds cannot be x: give whole numbers"),
        ({"seeds": "0,0"}, [], "The grid names fastflow, mvtec a, seed 0 twice"),
        ({"models": ""}, [], "--models is empty"),
        ({"modles": "cflow"}, [], "modles"),
        ({"options": {"trainer.max_epoch": 1}}, [], "max_epoch"),
        ({"options": {"model.stepz": 1}}, [], "stepz"),
        ({}, ["--workers=0"], "--workers"),
        ({}, ["--output=grid.yaml"], "grid.yaml"),
    ],
)
def test_a_wrong_grid_is_one_sentence(here: Path, capsys, changed: dict, words: list[str], said: str) -> None:
    write_grid(**changed)
    assert main(["benchmark", "-c", "grid.yaml", *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not FOLDER.exists()


def test_results_of_another_version_or_other_options_are_refused(here: Path, capsys) -> None:
    write_grid(models="fastflow", categories="a", seeds=0)
    assert main(["benchmark", "-c", "grid.yaml"]) == 0
    write_grid(models="fastflow", categories="a", seeds=0, options=OPTIONS | {"model.steps": 3})
    assert main(["benchmark", "-c", "grid.yaml"]) == 2
    assert "was made with other options (model.steps)" in capsys.readouterr().err
    table = FOLDER / "results.csv"
    text = table.read_text()
    for damaged, wanted in (
        (text.replace("pixel_aupro", "pro", 1), "has other columns"),
        (text.replace("fastflow,fastflow,mvtec,a,0", "fastflow,fastflow,mvtec,a,x"), "is damaged"),
        (text.splitlines()[0], "The results have no runs"),
        (text + text.splitlines()[1].replace("calibrated", "paper"), "mix protocols (calibrated, paper)"),
    ):
        table.write_text(damaged)
        assert main(["benchmark", "table", str(table)]) == 2
        assert wanted in capsys.readouterr().err
