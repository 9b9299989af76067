"""Runs that are logged to TensorBoard, MLflow and W&B, read back by their own libraries."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny import SMALL

from anomalib_flows.cli import main
from anomalib_flows.run.directory import Run
from anomalib_flows.run.listing import find_runs
from anomalib_flows.training import trackers
from anomalib_flows.training.tracking import Tracker

pytestmark = pytest.mark.filterwarnings("always")  # the command line prints them


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undo what services set for themselves, and take away what a user may have set."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "WANDB_MODE", "WANDB_API_KEY", "WANDB_PROJECT"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def train(tree: Path, folder: Path, service: str, *more: str) -> Path:
    data = ["--data=mvtec", f"--data.root={tree}", "--data.category=stripes"]
    options = [f"--trainer.logger={service}", "--trainer.max_epochs=2", f"--output={folder}"]
    assert main(["train", *SMALL, *data, *options, *more]) == 0
    [run] = find_runs(folder)  # what a service keeps beside it is no run
    return run


def resume(run: Path) -> None:
    assert main(["train", "--resume", str(run), "--trainer.max_epochs=3"]) == 0


def of_test(run: Path) -> dict[str, float]:
    return {k: v for k, v in json.loads((run / "metrics.json").read_text())["image"].items() if v is not None}


def test_tensorboard_has_losses_configuration_metrics_and_pictures(tree: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = train(tree, tmp_path, "tensorboard")
    resume(run)
    events = EventAccumulator(str(run / "logs"), size_guidance={"images": 0, "scalars": 0, "tensors": 0}).Reload()
    losses = [(event.step, event.value) for event in events.Scalars("loss")]
    rows = [line.split(",") for line in (run / "losses.csv").read_text().splitlines()[1:]]
    assert losses == [(int(step) - 1, pytest.approx(float(loss), rel=1e-5)) for step, _, loss in rows]
    for name, value in of_test(run).items():
        assert events.Scalars(f"test/image_{name}")[-1].value == pytest.approx(value, rel=1e-6)
    text = events.Tensors("config/text_summary")[-1].tensor_proto.string_val[0].decode()
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert yaml.safe_load(text) == config
    session = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    assert b"model/init_args/backbone" in session
    pictures = [tag for tag in events.Tags()["images"] if tag.startswith("test/")]
    assert pictures == [f"test/{path.relative_to(run / 'images').as_posix()}" for path in figures(run)]
    assert events.Images(pictures[0])[0].width > 64


def test_a_resumed_training_replaces_the_steps_that_it_repeats_in_tensorboard(tree: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = Run(train(tree, tmp_path, "csv", "--trainer.max_epochs=1", "--pictures=0"))
    config = run.config()
    for first, loss in ((0, 5.0), (2, 4.0)):  # the first one was killed after a step that it had not kept
        tracker = Tracker(replace(config, trainer=replace(config.trainer, logger="tensorboard")), run)
        tracker.save()
        for step in range(first, 4):
            tracker.log_metrics({"loss": loss}, step)
        tracker.close("failed")
    losses = EventAccumulator(str(run.path / "logs")).Reload().Scalars("loss")
    assert [(event.step, event.value) for event in losses] == [(0, 5.0), (1, 5.0), (2, 4.0), (3, 4.0)]


def figures(run: Path) -> list[Path]:
    found = sorted((run / "images").rglob("*.jpg"))
    assert 0 < len(found) <= 8
    return found


def test_mlflow_has_losses_configuration_metrics_and_pictures(tree: Path, tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    from mlflow import MlflowClient

    run = train(tree, tmp_path, "mlflow")
    resume(run)
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("anomalib-flows-mvtec")
    [logged] = client.search_runs([experiment.experiment_id])  # a resumed run is one
    assert logged.info.status == "FINISHED"
    assert logged.info.run_name == "fastflow mvtec stripes run-001"
    assert logged.data.params["model/init_args/backbone"] == "test_efficientnet"
    losses = {(m.step, round(m.value, 2)) for m in client.get_metric_history(logged.info.run_id, "loss")}
    rows = [line.split(",") for line in (run / "losses.csv").read_text().splitlines()[1:]]
    assert {step for step, _ in losses} == {int(step) - 1 for step, _, _ in rows}
    for name, value in of_test(run).items():
        assert logged.data.metrics[f"test/image_{name}"] == pytest.approx(value)
    kept = [path.relative_to(run / "images").as_posix() for path in figures(run)]
    artifacts = partial(client.list_artifacts, logged.info.run_id)
    listed = [file.path for kind in ("blob", "good") for file in artifacts(f"test/{kind}")]
    assert listed == [f"test/{name}" for name in kept]
    assert {"config.yaml", "metrics.json"} <= {file.path for file in artifacts()}


def test_wandb_is_offline_unless_asked(tree: Path, tmp_path: Path, capsys) -> None:
    pytest.importorskip("wandb", reason="the extra wandb is not part of the extra test, since it is large")
    run = train(tree, tmp_path, "wandb")
    [folder] = (tmp_path / "wandb").glob("offline-run-*")
    known = (run / "logs/wandb-id.txt").read_text().strip()
    assert (folder / f"run-{known}.wandb").stat().st_size > 1000
    assert len(list(folder.rglob("*.jpg"))) == len(figures(run))
    resume(run)
    assert len(list((tmp_path / "wandb").glob(f"offline-run-*-{known}"))) == 2
    assert capsys.readouterr().out.count(": wandb sync ") == 2


def test_an_unreachable_server_costs_a_run_nothing(tree: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    run = train(tree, tmp_path, "mlflow")
    assert of_test(run)
    [said] = [line for line in capsys.readouterr().err.splitlines() if "mlflow" in line]  # the bar moves away
    assert said.startswith("warning: --trainer.logger mlflow failed (")
    assert "Connection refused" in said
    assert said.endswith("): the run goes on without it.")


class Failing(trackers.Service):
    """Fails when the results come."""

    def __init__(self, *_: Any) -> None:
        self.logger, self.place = self, "here"  # type: ignore[assignment]

    def log_metrics(self, *_: Any) -> None: ...

    def save(self) -> None: ...

    def log_results(self, *_: Any) -> None:
        raise ConnectionError("gone.\nfor good")


def test_a_service_that_fails_in_the_end_costs_a_run_nothing(tree: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    pytest.importorskip("tensorboard")
    monkeypatch.setitem(trackers.SERVICES, "tensorboard", Failing)
    run = train(tree, tmp_path, "tensorboard")
    assert of_test(run)
    said = capsys.readouterr().err
    assert said.count("warning: --trainer.logger tensorboard failed (gone): the run goes on without it.") == 1


def test_a_service_that_is_not_installed_names_its_extra(tree: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr("anomalib_flows.run.options.find_spec", lambda name: None)
    data = ["--data=mvtec", f"--data.root={tree}", "--data.category=stripes", f"--output={tmp_path / 'out'}"]
    assert main(["train", *SMALL, *data, "--trainer.logger=mlflow"]) == 2
    assert "run pip install mlflow-skinny sqlalchemy alembic." in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
