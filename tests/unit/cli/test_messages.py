"""Errors and warnings name options, and the commands that go on."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from anomalib_flows.cli.errors import MOVED, next_commands, option, spoken, with_options
from anomalib_flows.core.errors import InputError, Interrupted, NotCalibratedError

NAMES = ["seed", "false_alarm_rate", "data", "data.root", "data.seed", "model.steps", "loader.cache", "trainer.cache"]


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("`seed` cannot be -1.", "--seed cannot be -1."),
        ("`false_alarm_rate` cannot be 2.", "--false-alarm-rate cannot be 2."),
        ("`steps` and `root` must be given.", "--model.steps and --data.root must be given."),
        ("`loader.cache` cannot be on.", "--loader.cache cannot be on."),
        ("`cache` names two options.", "cache names two options."),
        ("`images` is not an option here.", "images is not an option here."),
    ],
)
def test_fields_become_options(message: str, said: str) -> None:
    assert with_options(message, NAMES) == said


def test_options_that_moved_have_other_names_now() -> None:
    assert not MOVED.keys() & set(MOVED.values())
    assert all(option(name).startswith("--") for name in MOVED.values())


def test_errors_and_warnings_are_translated(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(warnings, "showwarning", lambda message, *_: said.append(str(message)))
    with spoken(NAMES):
        warnings.showwarning(UserWarning("`root` is empty."), UserWarning, "file.py", 1)
    warnings.showwarning(UserWarning("`root` is empty."), UserWarning, "file.py", 1)
    assert said == ["--data.root is empty.", "`root` is empty."]
    with pytest.raises(InputError, match="^--model.steps cannot be 0"), spoken(NAMES):
        raise InputError("`steps` cannot be 0.")


def test_a_run_without_thresholds_is_answered_with_the_command() -> None:
    with pytest.raises(InputError, match="no thresholds yet.*anomalib-flows calibrate results/run-001$"), spoken([]):
        raise NotCalibratedError("results/run-001")


def test_stopped_training_goes_on_by_resume() -> None:
    with (
        pytest.raises(KeyboardInterrupt, match="train --resume results/run-001\n.*calibrate results/run-001"),
        spoken([]),
    ):
        raise Interrupted("results/run-001", "training")


@pytest.mark.parametrize("protocol", ["calibrated", "paper"])
def test_a_stopped_test_goes_on_by_its_protocol(run_folder: Path, protocol: str) -> None:
    file = run_folder / "config.yaml"
    file.write_text(file.read_text().replace("protocol: calibrated", f"protocol: {protocol}"))
    said = next_commands(Interrupted(run_folder, "testing"))
    assert f"anomalib-flows test {run_folder} --protocol {protocol}" in said
    assert ("anomalib-flows calibrate" in said) == (protocol == "calibrated")
