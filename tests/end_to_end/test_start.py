"""What a command imports before it has work to do: help and mistakes need not wait for what trains."""

from __future__ import annotations

import subprocess
import sys

import pytest

IMPORTED = """
import sys
from anomalib_flows.cli import main
try:
    main(sys.argv[1:])
except SystemExit:
    pass
print("\\n" + " ".join(sys.modules))
"""
MODELS = {"timm", "torchvision", "huggingface_hub.file_download"}
TRAINING = {"lightning", "torchmetrics", "kornia", "scipy", "sympy", "matplotlib"}
HEAVY = {"torch"} | MODELS | TRAINING
COMMANDS = "train test predict report calibrate latency data-check data-prepare cache list runs"


def imported(*arguments: str) -> set[str]:
    """Names of all modules that a command line imports in a process of its own."""
    command = [sys.executable, "-c", IMPORTED, *arguments]
    finished = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(finished.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("option", ["--help", "--version", ""])
def test_help_and_version_import_next_to_nothing(option: str) -> None:
    assert not imported(*filter(None, [option])) & (HEAVY | {"numpy", "openvino", "pydantic", "yaml", "argparse"})


@pytest.mark.parametrize("command", [name.replace("-", " ") for name in COMMANDS.split()])
def test_help_of_commands_takes_no_torch(command: str) -> None:
    found = imported(*command.split(), "--help")
    assert "argparse" in found  # it has come to the options
    assert not found & HEAVY


@pytest.mark.parametrize("command", ["export", "import-checkpoint"])
def test_help_of_commands_that_name_models_takes_torch_alone(command: str) -> None:
    assert not imported(command, "--help") & (MODELS | TRAINING)


@pytest.mark.parametrize(
    "arguments",
    [
        ["train"],
        ["train", "--modle", "fastflow"],
        ["train", "--resume", "nowhere"],
        ["train", "--model", "fastflwo"],
        ["train", "--data", "mvtex"],
        ["train", "-c", "fastflow/resnet81"],
        ["test", "nowhere"],
        ["predict", "nowhere", "--input", "x", "--output", "y"],
        ["calibrate", "nowhere"],
        ["list", "models"],
        ["runs", "nowhere"],
        ["list", "backbone"],
        ["data", "check", "photoss"],
    ],
)
def test_unknown_names_are_told_without_torch(arguments: list[str]) -> None:
    assert not imported(*arguments) & HEAVY


@pytest.mark.parametrize(
    "arguments",
    [
        ["--model", "fastflow", "--model.stpes", "3"],
        ["--model", "fastflow", "--model.steps", "few"],
        ["--model", "cflow", "--data", "mvtec"],
        ["--model", "fastflow", "--data", "folder", "--data.normal", "nowhere"],
        ["--model", "fastflow", "--data", "mvtec", "--data.root", "/nowhere", "--data.category", "bottle"],
    ],
)
def test_mistakes_in_training_are_told_before_encoders_and_lightning_are_imported(arguments: list[str]) -> None:
    assert not imported("train", *arguments) & (MODELS | TRAINING)


def test_a_command_whose_modules_are_missing_names_one() -> None:
    code = "import sys; sys.modules['yaml'] = None; from anomalib_flows.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "predict", "model.xml", "--input=photos", "--output=predicted"]
    finished = subprocess.run(command, capture_output=True, text=True)
    assert finished.returncode == 2
    assert finished.stderr.startswith("error: This command needs the module yaml, which is not installed")
