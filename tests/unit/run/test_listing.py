"""Every folder that looks like a run is listed, whatever state its files are in."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.finding import mark_results
from anomalib_flows.run.component import Component
from anomalib_flows.run.config import TrainConfig
from anomalib_flows.run.directory import Run
from anomalib_flows.run.listing import find_runs, list_runs, read_run

CONFIG = TrainConfig(model=Component("fastflow", {"backbone": "resnet18"}), data=Component("mvtec", {"root": "/data"}))


def write_model(file: Path, threshold: float = 0.7, count: int = 4, **described: str) -> None:
    tensors = {
        "detector.weight": np.zeros((50, 50), np.float32),
        "postprocess.image_threshold": np.array(threshold, np.float32),
        "postprocess.calibration_scores": np.zeros(count, np.float32),
    }
    save_file(tensors, file, metadata={"anomalib_flows": json.dumps(described)})


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A complete run."""
    made = Run.create(tmp_path / "results", "fastflow", "mvtec", "tile")
    made.write_config(CONFIG)
    write_model(made.model_file)
    metrics = {"image": {"auroc": 0.9, "threshold": float(np.float32(0.7))}, "promised_false_alarm_rate": 0.05}
    made.write_json("metrics.json", metrics)
    return made


def test_a_complete_run_has_no_note(run: Run) -> None:
    [listed] = list_runs(run.path.parents[3])
    assert listed.path == run.path
    assert listed.note == ""
    assert listed.config == CONFIG.to_dict()
    assert listed.metrics == json.loads(run.metrics_file.read_text())
    assert (listed.facts.calibration_images, listed.facts.protocol) == (4, "calibrated")
    assert listed.promised_rate == 0.05
    assert listed.size == sum(file.stat().st_size for file in run.path.iterdir())
    assert listed.made == (run.path / "versions.json").stat().st_mtime


STATES: dict[str, tuple[Callable[[Run], object], str]] = {
    "only begun": (lambda run: (run.config_file.unlink(), run.model_file.unlink()), "not begun: no config.yaml"),
    "damaged config": (lambda run: run.config_file.write_text("model: ["), "damaged: config.yaml"),
    "no model in the config": (lambda run: run.config_file.write_text("seed: 1"), "damaged: config.yaml"),
    "bytes in the config": (lambda run: run.config_file.write_bytes(b"\xff\xfe"), "damaged: config.yaml"),
    "no model": (lambda run: run.model_file.unlink(), "unfinished: no model yet"),
    "empty model": (lambda run: run.model_file.write_bytes(b""), "damaged: model.safetensors"),
    "truncated model": (lambda run: shorten(run.model_file), "damaged: model.safetensors"),
    "foreign model": (lambda run: save_file({"a": np.zeros(1)}, run.model_file), "damaged: model.safetensors"),
    "huge header": (lambda run: run.model_file.write_bytes(b"\xff" * 20), "damaged: model.safetensors"),
    "stopped": (
        lambda run: (write_model(run.model_file, np.nan), run.resume_file.touch()),
        "unfinished: resume or calibrate",
    ),
    "imported": (lambda run: write_model(run.model_file, np.nan, 0), "no thresholds: calibrate"),
    "not tested": (lambda run: run.metrics_file.unlink(), "not tested"),
    "endless aliases": (
        lambda run: run.config_file.write_text("a: &a [1, *a]\nmodel: {class_path: x}"),
        "damaged: config.yaml",
    ),
    "damaged metrics": (lambda run: run.metrics_file.write_text("{"), "damaged: metrics.json"),
    "list of metrics": (lambda run: run.metrics_file.write_text("[]"), "damaged: metrics.json"),
    "deep metrics": (lambda run: run.metrics_file.write_text("[" * 100_000), "damaged: metrics.json"),
    "other threshold": (lambda run: write_model(run.model_file, 0.8), "other threshold than tested"),
}


def shorten(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


@pytest.mark.parametrize(("change", "note"), STATES.values(), ids=STATES)
def test_what_is_missing_or_damaged_is_said(run: Run, change, note: str) -> None:
    change(run)
    assert read_run(run.path).note == note


def test_random_damage_raises_no_error(run: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    names = ["config.yaml", "model.safetensors", "metrics.json"]
    for number in range(150):
        copy = shutil.copytree(run.path, tmp_path / f"damaged-{number}")
        file = copy / names[number % 3]
        content = bytearray(file.read_bytes())
        for place in rng.integers(0, min(len(content), 400), 3):
            content[place] = rng.integers(0, 256)
        file.write_bytes(content)
        listed = read_run(copy)
        assert listed.promised_rate is None or listed.promised_rate > 0
        shutil.rmtree(copy)


@pytest.mark.parametrize(
    ("described", "count", "promised"),
    [
        ({}, 4, 0.2),
        ({}, 999, 0.01),
        ({"threshold_source": "hand"}, 4, None),
        ({"protocol": "paper"}, 4, None),
    ],
)
def test_a_run_that_was_not_tested_promises_what_its_model_does(run: Run, described, count, promised) -> None:
    run.metrics_file.unlink()
    write_model(run.model_file, 0.7, count, **described)
    assert read_run(run.path).promised_rate == promised


def test_parts_of_a_run_pictures_and_hidden_folders_hold_no_runs(run: Run) -> None:
    top = run.path.parents[3]
    for place in (run.validation.path, run.path / "export/openvino", top / "check", top / ".tmp-1", top / "other/run"):
        place.mkdir(parents=True)
        (place / "config.yaml").touch()
    mark_results(top / "check")
    shutil.rmtree(top / "check")
    (top / "check/below").mkdir(parents=True)
    (top / "check/below/config.yaml").touch()
    mark_results(top / "check")
    assert find_runs(top) == [run.path, top / "other/run"]
    assert find_runs(run.path) == [run.path]


def test_names_that_are_not_utf_8_are_no_damage(run: Run) -> None:
    run.write_config(replace(CONFIG, data=Component("mvtec", {"root": "/data/\udce9"})))
    assert read_run(run.path).config == run.config().to_dict()
    assert not read_run(run.path).note


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no folder .*nowhere: name one that holds runs"):
        list_runs(tmp_path / "nowhere")
