"""The learning rate follows the detector's schedule at every step, also of a resumed run."""

import pytest
import torch
from lightning import Trainer

from anomalib_flows import CFlow, FastFlow
from anomalib_flows.core.types import Sample
from anomalib_flows.models.base import Detector
from anomalib_flows.models.checkpoint import load_pipeline
from anomalib_flows.models.pipeline import Pipeline
from anomalib_flows.run.component import Component
from anomalib_flows.run.config import TrainConfig
from anomalib_flows.run.directory import Run
from anomalib_flows.run.options import LoaderOptions, TrainerOptions
from anomalib_flows.training import callbacks
from anomalib_flows.training import fit as fitting
from anomalib_flows.training.module import TrainingModule

STEPS = 3
"""Steps of an epoch of five images in batches of two."""


@pytest.fixture(autouse=True)
def every_epoch_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callbacks, "WORTH", 0)


@pytest.fixture
def rates(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The learning rate of every step of the optimizer."""
    seen: list[float] = []
    step = torch.optim.Adam.step

    def recorded(self, closure=None):
        seen.append(self.param_groups[0]["lr"])
        return step(self, closure)

    monkeypatch.setattr(torch.optim.Adam, "step", recorded)
    return seen


def fastflow(**options: object) -> Pipeline:
    torch.manual_seed(0)
    return Pipeline(FastFlow((32, 32), "test_resnet", **{"weights": "random", "steps": 1, "layers": [2]} | options))


def config(epochs: int | None = 2, **trainer: object) -> TrainConfig:
    options = TrainerOptions(
        **{"max_epochs": epochs, "accelerator": "cpu", "cache": "none", "precision": "32"} | trainer
    )
    return TrainConfig(
        model=Component("fastflow"), loader=LoaderOptions(batch_size=2, workers=0), trainer=options, seed=1
    )


def train(pipeline: Pipeline, samples: list[Sample], run: Run, options: TrainConfig, *, resume: bool = False) -> None:
    run.path.mkdir(exist_ok=True)
    assert fitting.fit(pipeline, samples, options, run, resume=resume)


def expected(detector: Detector, rate: float, steps: range, total: int) -> list[float]:
    return [rate * detector.learning_rate_factor(step / total) for step in steps]


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
@pytest.mark.parametrize("epochs", [1, 2, 5])
def test_rates_of_fastflow_follow_its_schedule(samples, rates, tmp_path, schedule, epochs) -> None:
    pipeline, total = fastflow(schedule=schedule, learning_rate=0.01), STEPS * epochs
    train(pipeline, samples, Run(tmp_path / "run"), config(epochs))
    assert len(rates) == total
    assert rates == pytest.approx(expected(pipeline.detector, 0.01, range(total), total), rel=1e-12)
    assert (len(set(rates)) == 1) == (schedule == "constant")


@pytest.mark.parametrize("schedule", ["constant", "cosine", "published"])
def test_rates_of_cflow_follow_its_schedule_over_several_steps_a_batch(samples, rates, tmp_path, schedule) -> None:
    torch.manual_seed(0)
    options = {"weights": "random", "steps": 1, "layers": [1, 2], "schedule": schedule, "order": "published"}
    pipeline = Pipeline(CFlow((32, 32), "test_resnet", vectors_per_step=8, learning_rate=0.01, **options))
    train(pipeline, samples, Run(tmp_path / "run"), config())
    total = 2 * sum(map(pipeline.detector.training_batch_count, [2, 2, 1]))
    assert len(rates) == total > 2 * STEPS
    assert rates == pytest.approx(expected(pipeline.detector, 0.01, range(total), total), rel=1e-12)


def stop_after_first(self: TrainingModule) -> None:
    torch.manual_seed(self.config.seed + self.current_epoch)
    if self.current_epoch == 1:
        raise KeyboardInterrupt


def start(samples: list[Sample], run: Run, options: TrainConfig) -> None:
    """Train for one epoch of those that the options ask for."""
    run.path.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainingModule, "on_train_epoch_start", stop_after_first)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            fitting.fit(fastflow(learning_rate=0.01), samples, options, run)


def test_a_resumed_run_goes_on_in_its_schedule(samples, rates, tmp_path) -> None:
    run, total = Run(tmp_path / "run"), 3 * STEPS
    start(samples, run, config(3))
    pipeline = fastflow(learning_rate=0.01)
    train(pipeline, samples, run, config(3), resume=True)
    assert rates == pytest.approx(expected(pipeline.detector, 0.01, range(total), total), rel=1e-12)


def test_a_new_learning_rate_applies_from_the_first_resumed_step(samples, rates, tmp_path) -> None:
    run, total = Run(tmp_path / "run"), 3 * STEPS
    start(samples, run, config(3))
    assert rates == pytest.approx(expected(fastflow().detector, 0.01, range(STEPS), total), rel=1e-12)
    rates.clear()
    pipeline = fastflow(learning_rate=0.002)
    train(pipeline, samples, run, config(3), resume=True)
    assert rates == pytest.approx(expected(pipeline.detector, 0.002, range(STEPS, total), total), rel=1e-12)


def test_a_new_weight_decay_applies_as_well(samples, tmp_path, monkeypatch) -> None:
    run, trainers = Run(tmp_path / "run"), []
    start(samples, run, config(2))
    fit = Trainer.fit
    monkeypatch.setattr(Trainer, "fit", lambda self, *a, **k: trainers.append(self) or fit(self, *a, **k))
    train(fastflow(weight_decay=0.3), samples, run, config(2), resume=True)
    assert [group["weight_decay"] for group in trainers[0].optimizers[0].param_groups] == [0.3]


def test_more_epochs_stretch_the_schedule(samples, rates, tmp_path) -> None:
    run, total = Run(tmp_path / "run"), 4 * STEPS
    start(samples, run, config(2))
    rates.clear()
    pipeline = fastflow(learning_rate=0.01)
    train(pipeline, samples, run, config(4), resume=True)
    assert rates == pytest.approx(expected(pipeline.detector, 0.01, range(STEPS, total), total), rel=1e-12)


def test_a_resumed_run_gives_the_weights_of_one_that_was_not_stopped(samples, tmp_path) -> None:
    whole, resumed = fastflow(learning_rate=0.01), fastflow(learning_rate=0.01)
    train(whole, samples, Run(tmp_path / "whole"), config(3))
    start(samples, Run(tmp_path / "run"), config(3))
    train(resumed, samples, Run(tmp_path / "run"), config(3), resume=True)
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)


def test_epochs_that_are_shorter_than_writing_are_not_all_kept(samples, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(callbacks, "WORTH", 1e6)
    kept: list[int] = []
    save = Trainer.save_checkpoint
    monkeypatch.setattr(Trainer, "save_checkpoint", lambda self, f: kept.append(self.current_epoch) or save(self, f))
    pipeline, run = fastflow(), Run(tmp_path / "run")
    train(pipeline, samples, run, config(4))
    assert kept == [0, 3], "the state before the first step, and the last one"
    last = load_pipeline(run.model_file).state_dict()
    for name, tensor in pipeline.state_dict().items():
        torch.testing.assert_close(last[name], tensor, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize(("steps", "epochs"), [(1, 1), (4, 1), (6, 2), (12, 4), (100, 33)])
def test_steps_are_batches_of_images_in_whole_epochs(samples, rates, tmp_path, steps, epochs) -> None:
    train(fastflow(), samples, Run(tmp_path / "run"), config(None, max_steps=steps))
    assert len(rates) == epochs * STEPS
