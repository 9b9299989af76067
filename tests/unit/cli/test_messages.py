"""Errors and warnings name options, and the commands that go on."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from anomalib_flows import FastFlow
from anomalib_flows.cli.app import find_commands
from anomalib_flows.cli.errors import MOVED, next_commands, option, spoken, with_options
from anomalib_flows.cli.messages import USUAL, explain
from anomalib_flows.cli.parser import option_types
from anomalib_flows.core import registry
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


def test_recommended_commands_are_quoted() -> None:
    with pytest.raises(InputError, match="anomalib-flows calibrate 'results/my run'$"), spoken([]):
        raise NotCalibratedError("results/my run")
    assert "train --resume 'my run'\n" in next_commands(Interrupted("my run", "training"))


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


KNOWN = ["--input", "--output", "--loader.batch_size", "--trainer.max_epochs", "--data"]


@pytest.mark.parametrize(
    ("message", "known", "said"),
    [
        ("Unrecognized arguments: photos/bad", KNOWN, "give it as --input photos/bad"),
        ("Unrecognized arguments: photos/bad", ["--images"], "give it as --images photos/bad"),
        ("Unrecognized arguments: photos/good", ["--data", "--model"], "--data folder --data.normal photos/good"),
        ("Unrecognized arguments: two", ["--data", "--data.normal"], "[one,two]"),
        ("Unrecognized arguments: --batch_size 3", KNOWN, "did you mean --loader.batch_size?"),
        ("Unrecognized arguments: --epochs 3", KNOWN, "did you mean --trainer.max_epochs?"),
        ("Unrecognized arguments: --epochs 3", ["--run"], "--help lists the options"),
        ("argument -c/--config: expected one argument", KNOWN, "--config needs a value"),
        ("the following arguments are required: run", KNOWN, "the directory that 'train' wrote"),
    ],
)
def test_mistakes_of_new_users_are_answered_with_the_next_step(message: str, known: list[str], said: str) -> None:
    assert said in explain(message, known)


def test_usual_names_stand_for_options_that_exist() -> None:
    known = {*option_types(find_commands()["train"]), *(f"model.{name}" for name in registry.parameters(FastFlow))}
    assert set(USUAL.values()) <= known


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--trainer.max_epochs=ten", "--trainer.max_epochs cannot be ten: it takes a whole number."),
        ("--model.layers=few", "--model.layers cannot be few: it takes a list of numbers, such as [1,2]."),
        ("--normal=photos", "did you mean --data.normal?"),
        ("--data.normal", "--data.normal needs a value"),
        ("--config", "--config needs a value"),
        ("--config=broken.yaml", "broken.yaml is not UTF-8 text"),
        ("--config=nowhere.yaml", "nowhere.yaml does not exist"),
        ("--config=run-001", "name run-001/config.yaml"),
        ("--data=photos/good", "--data folder --data.normal photos/good"),
    ],
)
def test_mistakes_in_options_are_answered_with_the_next_step(
    fails, run_folder: Path, monkeypatch: pytest.MonkeyPatch, option: str, said: str
) -> None:
    monkeypatch.chdir(run_folder.parent)
    Path("broken.yaml").write_bytes(b"\xff\xfe")
    data = [] if option.startswith("--data=") else ["--data=folder"]
    assert said in fails("train", "--model=fastflow", *data, option)


def touch(path: str) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).touch()


def test_what_is_no_run_is_answered_with_what_to_name(fails, run_folder: Path, monkeypatch) -> None:
    monkeypatch.chdir(run_folder.parent)
    for name in (
        "exp/model.xml",
        "exp/model.bin",
        "ovms/1/model.xml",
        "onnx/model.onnx",
        "photos/bad/1.png",
        "empty/x",
    ):
        touch(name)
    touch("results/fastflow/folder/good/run-001/config.yaml")
    touch("run-001/images/1.jpg")
    answers = {
        "exp": "name exp/model.xml",
        "ovms": "name ovms/1/model.xml",
        "exp/model.bin": "name exp/model.xml",
        "onnx": "a model for other programs",
        "onnx/model.onnx": "a model for other programs",
        "results": "such as results/fastflow/folder/good/run-001",
        "results/fastflow": "such as results/fastflow/folder/good/run-001",
        "run-001/images": f"name {run_folder}",
        "run-001/config.yaml": f"name {run_folder}",
        "photos": "it has images; name a run directory first",
        "photos/bad/1.png": "it has images; name a run directory first",
        "nowhere": "it does not exist",
        "empty": "it holds no config.yaml",
    }
    for name, said in answers.items():
        assert said in fails("predict", name, "--input=photos/bad", "--output=predicted"), name
    assert "name the run that it was made of" in fails("calibrate", "exp/model.xml")
