"""A run's configuration provides the defaults of the commands that take a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from anomalib_flows.run.directory import Run


def test_test_takes_dataset_loader_and_pictures(parsed, run_folder: Path) -> None:
    options = parsed("test", run_folder)
    assert (options.data.class_path, options.data.init_args["category"]) == ("synthetic", "board")
    assert (options.loader.batch_size, options.loader.workers, options.pictures) == (5, 0, 7)
    assert (options.seed, options.protocol) == (0, "calibrated")


def test_options_replace_values_of_the_run(parsed, run_folder: Path) -> None:
    options = parsed("test", "--loader.batch_size=2", "--data.category=plate", run_folder, "--pictures=0")
    assert (options.loader.batch_size, options.loader.workers, options.pictures) == (2, 0, 0)
    assert options.data.init_args["category"] == "plate"


def test_another_dataset_takes_nothing_from_the_runs(parsed, run_folder: Path, tmp_path: Path) -> None:
    options = parsed("test", run_folder, "--data=mvtec", f"--data.root={tmp_path}", "--data.category=a")
    assert options.data.class_path == "mvtec"
    assert options.data.init_args == {"root": str(tmp_path), "category": "a"}


def test_predict_takes_the_loader(parsed, run_folder: Path) -> None:
    options = parsed("predict", run_folder, "--input=*.png", "--output=out")
    assert (options.input, options.output, options.loader.batch_size) == ("*.png", Path("out"), 5)


def test_calibrate_takes_loader_and_rate(parsed, run_folder: Path) -> None:
    options = parsed("calibrate", run_folder)
    assert (options.false_alarm_rate, options.loader.batch_size, options.images) == (0.2, 5, None)
    assert parsed("calibrate", run_folder, "--false-alarm-rate=0.4").false_alarm_rate == 0.4
    assert (options.threshold, options.decision.mask_area) == (None, 0)
    assert parsed("calibrate", run_folder, "--decision.mask-area=0.1").decision.mask_area == 0.1


def test_an_exported_model_has_no_defaults(parsed) -> None:
    assert parsed("predict", "model.xml", "--input=a", "--output=b", "--device=GPU").device == "GPU"


@pytest.mark.parametrize("order", [1, -1])
def test_a_resumed_run_takes_everything(parsed, run_folder: Path, order: int) -> None:
    config = parsed("train", *[f"--resume={run_folder}", "--trainer.max_epochs=30"][::order])
    recorded = Run.open(run_folder).config()
    assert config.trainer.max_epochs == 30
    assert (config.seed, config.loader) == (recorded.seed, recorded.loader)
    assert config.data.init_args["category"] == "board"
    assert config.model.init_args["steps"] == 3
