"""A run of somebody else: no code that it names runs unless it is trusted, and nothing is written where it says."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
import yaml
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from anomalib_flows import Component, InputError, TestOptions, load
from anomalib_flows import test as run_test
from anomalib_flows.cli import main

pytestmark = pytest.mark.filterwarnings("always")  # the command line prints them

CODE = """from pathlib import Path
from anomalib_flows import FastFlow, MVTec
Path({witness!r}).touch()
class OtherFlow(FastFlow): ...
class OtherData(MVTec): ...
"""
COMMANDS = {
    "predict": ["--input={photos}", "--output={output}"],
    "test": [],
    "calibrate": ["--false-alarm-rate=0.2"],
    "export": ["--format=torch", "--output={output}"],
    "latency": ["--seconds=0.01"],
    "train --resume": [],
    "train -c": [],
}


@pytest.fixture
def run(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A run that names other classes, whose module lies in the working folder, which is on the path."""
    (tmp_path / "received.py").write_text(CODE.format(witness=str(tmp_path / "imported")))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield shutil.copytree(trained, tmp_path / "run")
    sys.modules.pop("received", None)


def name_model(run: Path) -> None:
    """Let the model name another class."""
    file = run / "model.safetensors"
    with safe_open(file, framework="pt") as opened:
        description = json.loads(opened.metadata()["anomalib_flows"])
    description["model"]["class_path"] = "received.OtherFlow"
    save_file(load_file(file), file, metadata={"anomalib_flows": json.dumps(description)})


def change_config(run: Path, key: str, change: dict[str, object]) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text())
    config[key] |= change
    (run / "config.yaml").write_text(yaml.safe_dump(config))


def words(command: str, run: Path, tree: Path) -> list[str]:
    source = run / "config.yaml" if command == "train -c" else run
    given = {"photos": tree / "stripes/test/blob", "output": run.parent / "out"}
    return [*command.split(), str(source), *(word.format(**given) for word in COMMANDS[command])]


CASES = [(command, "model") for command in COMMANDS if not command.startswith("train")]
CASES += [("test", "config data")]  # its model is that of the file, which says itself what it is
CASES += [(command, f"config {key}") for command in ("train --resume", "train -c") for key in ("model", "data")]


@pytest.mark.parametrize(("command", "where"), CASES)
def test_no_command_imports_what_a_run_names(run: Path, tree: Path, capsys, command: str, where: str) -> None:
    if where == "model":
        name_model(run)
    else:
        key = where.partition(" ")[2]
        change_config(run, key, {"class_path": {"model": "received.OtherFlow", "data": "received.OtherData"}[key]})
    before = set(sys.modules)
    assert main(words(command, run, tree)) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: No installed package registers the ")
    assert "received.Other" in error
    assert "--trust" in error
    assert "received" not in set(sys.modules) - before
    assert not (run.parent / "imported").exists()
    assert not (run.parent / "out").exists()


@pytest.mark.parametrize("command", ["predict", "test"])
def test_a_trusted_run_is_used(run: Path, tree: Path, command: str) -> None:
    name_model(run)
    change_config(run, "data", {"class_path": "received.OtherData"})
    first, *rest = words(command, run, tree)
    assert main([first, "--trust", *rest]) == 0
    assert (run.parent / "imported").exists()


def test_in_python_an_argument_or_an_import_trusts(run: Path) -> None:
    name_model(run)
    with pytest.raises(InputError, match="No installed package registers the model received.OtherFlow"):
        load(run / "model.safetensors")
    assert type(load(run / "model.safetensors", trust=True).detector).__name__ == "OtherFlow"
    assert load(run / "model.safetensors").detector.image_size == (64, 64)  # this process has imported it


@pytest.mark.parametrize(
    "config",
    [
        "model.class_path: received.OtherFlow",
        "model: received.OtherFlow",
        "data.class_path: received.OtherData",
        "model: {class_path: fastflow, init_args: {timm_args: {class_path: received.OtherFlow}}}",
        "model: {class_path: fastflow, init_args: {timm_args: {parts: [{class_path: received.OtherFlow}]}}}",
    ],
)
def test_a_configuration_imports_nothing_however_it_is_written(run: Path, capsys, config: str) -> None:
    Path("mine.yaml").write_text(config)
    assert main(["train", "-c", "mine.yaml", "--data=synthetic"]) == 2
    assert "--trust" in capsys.readouterr().err
    assert not (run.parent / "imported").exists()


def test_no_images_are_drawn_where_a_run_says(run: Path, tmp_path: Path, capsys) -> None:
    victim = tmp_path / "victim"
    change_config(run, "data", {"class_path": "synthetic", "init_args": {"root": str(victim), "category": "fabric"}})
    splits = (run / "splits.csv").read_text()
    (run / "splits.csv").write_text(splits.replace("/stripes/train/", "/moved/"))  # so that --resume searches them
    for command in (["test"], ["train", "--resume"]):
        assert main([*command, str(run)]) == 2
        assert "none are drawn where a run says: name another folder as --data.root" in capsys.readouterr().err
    with pytest.raises(InputError, match="none are drawn where a run says"):
        run_test(run, TestOptions(data=Component("synthetic", {"root": victim})))
    assert not victim.exists()


@pytest.mark.parametrize("name", ["validation", "images/more", "logs"])
def test_nothing_is_written_through_a_link_out_of_a_run(run: Path, tree: Path, tmp_path: Path, capsys, name) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    shutil.rmtree(run / name, ignore_errors=True)
    (run / name).symlink_to(victim)
    for command in COMMANDS.keys() - {"train -c"}:
        assert main(words(command, run, tree)) == 2
        assert f"{run / name} is a link out of the run" in capsys.readouterr().err
    assert not any(victim.iterdir())


def test_links_within_a_run_and_to_its_model_are_followed(run: Path, tree: Path, tmp_path: Path) -> None:
    (run / "images").rename(run / "pictures")
    (run / "images").symlink_to("pictures")
    (run / "model.safetensors").rename(tmp_path / "model.safetensors")
    (run / "model.safetensors").symlink_to(tmp_path / "model.safetensors")
    assert main(words("predict", run, tree)) == 0
