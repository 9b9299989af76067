"""Where there is nothing to do, or images are not what they are given as, it is said."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from refusals import refused

import trees
from anomalib_flows.cli import main
from anomalib_flows.models.checkpoint import load_pipeline, save_pipeline
from anomalib_flows.models.postprocess import Postprocess
from anomalib_flows.run.directory import Run

pytestmark = pytest.mark.filterwarnings("always")  # the command line prints them


def test_photos_of_defects_as_good_ones_are_warned_of_with_figures(own: Path, capsys) -> None:
    file = Path("run/model.safetensors")
    pipeline = load_pipeline(file)
    pipeline.postprocess.calibration_scores -= 9  # so that new images are as anomalous as defects
    save_pipeline(pipeline, file)
    trees.draw(Path("new"), *(f"{i}.png" for i in range(4)))
    assert main(["calibrate", "run", "--images=new"]) == 0
    assert "4 of 4 images of this calibration are as anomalous as at most 0.33 of good" in capsys.readouterr().err
    # The model knows such images now.
    assert main(["calibrate", "run", "--images=new"]) == 0
    assert "as anomalous as" not in capsys.readouterr().err


def test_all_faults_of_folders_are_listed_at_once(world: Path, capsys) -> None:
    folders = ["--data.normal=nowhere", "--data.abnormal=[empty,notes.txt]", "--data.normal_test=gone"]
    capsys.readouterr()
    assert main(["data", "check", "--data=folder", *folders]) == 2
    printed = capsys.readouterr()
    faults = [line for line in printed.out.splitlines() if line.startswith("fault: ")]
    assert len(faults) == 4
    assert all(any(f"/{name} " in one for one in faults) for name in ("nowhere", "empty", "notes.txt", "gone"))
    assert printed.err == "error: Faults named above: 4; mend them before training.\n"


def test_a_training_names_the_first_of_several_faults_and_their_number(world: Path, capsys) -> None:
    data = ["--data=folder", "--data.normal=nowhere", "--data.abnormal=empty"]
    said = refused(capsys, world, ["train", "--model=fastflow", *data], "--data.normal")
    assert "There are 2 such faults" in said


def test_a_training_that_was_killed_before_its_first_step_begins_again(own: Path) -> None:
    before = Run(Path("run")).metrics()
    for name in ("resume.ckpt", "model.safetensors", "metrics.json", "predictions.csv", "losses.csv"):
        Path("run", name).unlink(missing_ok=True)
    shutil.rmtree("run/images", ignore_errors=True)
    assert main(["train", "--resume=run"]) == 0
    assert Run(Path("run")).metrics() == before


def test_what_an_uncalibrated_run_cannot_do_is_refused(own: Path, capsys) -> None:
    file = Path("run/model.safetensors")
    pipeline = load_pipeline(file)
    pipeline.postprocess = Postprocess(0, pipeline.heatmap.top_percent)
    save_pipeline(pipeline, file)
    for line in ("export run", "test run", "predict run --input=photos --output=new"):
        assert "calibrate" in refused(capsys, own, line.split(), "run")
