"""The tool that pretrains the encoder."""

import argparse
import math
import subprocess
import sys
from pathlib import Path
from threading import Event

import pytest
import torch
from safetensors.torch import load_file

from anomalib_flows.encoders.encoder import Encoder
from pretrain_encoder import Pretraining, run
from pretraining.scenes import draw

TOOL = Path(__file__).parents[3] / "tools/make/pretrain_encoder.py"


def test_another_recipe_does_not_continue_a_training(tmp_path: Path) -> None:
    pretrain(tmp_path, "--smoke")
    with pytest.raises(subprocess.CalledProcessError) as failed:
        pretrain(tmp_path, "--smoke", "--seed", "1")
    assert b"name another folder" in failed.value.stderr


def pretrain(output: Path, *options: str) -> None:
    command = [sys.executable, str(TOOL), "--output", str(output), "--device", "cpu"]
    subprocess.run([*command, *options], check=True, capture_output=True)


def test_the_tool_runs_and_its_weights_are_those_of_the_encoder(tmp_path: Path) -> None:
    pretrain(tmp_path, "--smoke")
    file = tmp_path / "texture13.safetensors"
    weights = load_file(file)
    assert file.stat().st_size < 5e6
    assert all(t.dtype == torch.float16 for t in weights.values())
    encoder = Encoder((64, 64), "texture13", weights=file)
    state = encoder.network.state_dict()
    assert torch.equal(state["stem.conv.weight"], weights["stem.conv.weight"].float())
    step, value, _ = (tmp_path / "log.csv").read_text().split(",")
    assert step == "2"
    assert math.isfinite(float(value))


def test_an_interrupted_training_ends_like_one_that_was_not(tmp_path: Path) -> None:
    class StoppedError(RuntimeError):
        pass

    def batches(start: int, stop: int):
        for i in range(start, 3):
            if i == stop:
                raise StoppedError
            yield draw(i, 64, textures=5)

    def begin(name: str) -> Pretraining:
        (tmp_path / name).mkdir(exist_ok=True)
        return Pretraining(
            argparse.Namespace(output=tmp_path / name, steps=3, size=64, textures=5, seed=0, device="cpu")
        )

    whole = begin("whole")
    run(whole, batches(0, 9), Event())
    first = begin("parts")
    with pytest.raises(StoppedError):
        run(first, batches(0, 1), Event())
    first.save()
    second = begin("parts")
    second.resume()
    run(second, batches(1, 9), Event())
    for (name, a), b in zip(whole.network.state_dict().items(), second.network.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
