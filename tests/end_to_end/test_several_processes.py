"""Training in several processes: the same results as in one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from tiny import SMALL

from anomalib_flows.cli import main
from anomalib_flows.core.timing import cores

pytestmark = [
    pytest.mark.filterwarnings("always"),  # the command line prints them
    pytest.mark.skipif(cores() < 2, reason="a core for each process"),
]
CFLOW = ["--model=cflow", "--model.condition=8", "--model.vectors_per_step=8"]
PUBLISHED = [*CFLOW, "--model.order=published", "--trainer.precision=32", "--trainer.max_epochs=1"]
COMMAND = [sys.executable, "-m", "anomalib_flows.cli"]


@pytest.fixture
def options(tree: Path, tmp_path: Path) -> list[str]:
    """Options of a training on the tiny product, whose results are in a folder of the test."""
    data = ["--data=mvtec", f"--data.root={tree}", "--data.category=stripes"]
    return ["train", *SMALL, *data, f"--output={tmp_path}", "--trainer.precision=32"]


def metrics(run: Path) -> dict[str, float]:
    found = json.loads((run / "metrics.json").read_text())
    return {f"{kind} {name}": value for kind in ("image", "pixel") for name, value in found[kind].items()}


def assert_alike(one: Path, several: Path) -> None:
    """Compare all weights and statistics, thresholds, metrics, and the losses of all steps."""
    expected, found = (load_file(run / "model.safetensors") for run in (one, several))
    assert expected.keys() == found.keys()
    differ = 0
    for name, values in expected.items():
        # Adam divides a gradient near 0 by its own size. Few weights may then differ, by 2 % of a step of 0.005.
        rtol, atol = (1e-6, 1e-6) if name.startswith("postprocess") else (1e-4, 1e-4)
        np.testing.assert_allclose(found[name], values, rtol=rtol, atol=atol, err_msg=name, equal_nan=True)
        differ += int((~np.isclose(found[name], values, rtol=1e-4, atol=1e-6, equal_nan=True)).sum())
    assert differ < 1e-3 * sum(values.size for name, values in expected.items() if ".flows." in name)
    assert metrics(several) == pytest.approx(metrics(one), abs=1e-6)
    losses = [np.loadtxt(run / "losses.csv", delimiter=",", skiprows=1) for run in (one, several)]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)


@pytest.mark.parametrize("model", [[], CFLOW], ids=["fastflow", "cflow"])
def test_two_processes_train_as_one(train: Callable[..., Path], model: list[str]) -> None:
    common = [*model, "--trainer.precision=32", "--trainer.max_epochs=2"]  # 7 images: parts of 1 and 2, and of 0 and 1
    assert_alike(train(*common), train(*common, "--trainer.devices=2"))


def test_a_loss_of_some_weights_needs_the_other_strategy(
    train: Callable[..., Path], options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*options, *PUBLISHED, "--trainer.devices=2"]) == 2
    assert "ddp needs a loss that depends on all weights in each step: set it to ddp_find" in capsys.readouterr().err
    strategy = "--trainer.strategy=ddp_find_unused_parameters_true"
    assert_alike(train(*PUBLISHED), train(*PUBLISHED, "--trainer.devices=2", strategy))


def test_processes_of_torchrun(train: Callable[..., Path], options: list[str], tmp_path: Path) -> None:
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "anomalib_flows.cli"]
    done = subprocess.run([sys.executable, *launch, *options, "--trainer.max_epochs=2"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("image AUROC") == 1  # one process prints and writes
    (run,) = tmp_path.glob("fastflow/mvtec/stripes/*")
    assert_alike(train("--trainer.precision=32", "--trainer.max_epochs=2"), run)
    refused = subprocess.run([sys.executable, *launch, *options, "--trainer.devices=3"], capture_output=True, text=True)
    assert "error: --trainer.devices is 3, but torchrun has started 2" in refused.stderr
    assert list(tmp_path.glob("fastflow/mvtec/stripes/*")) == [run]
    helped = subprocess.run([sys.executable, *launch, "train", "--help"], capture_output=True, text=True)
    assert helped.returncode == 0, helped.stderr
    refused = subprocess.run([sys.executable, *launch, *options, "--data.root=none"], capture_output=True, text=True)
    assert refused.returncode != 0
    assert refused.stderr.count("error: --data.root") == 1
    assert "[rank1]" not in refused.stderr


def children(process: subprocess.Popen[str]) -> list[int]:
    """Return all processes below one."""
    found, waiting = [], [process.pid]
    while waiting:
        listed = Path(f"/proc/{waiting[0]}/task/{waiting.pop(0)}/children")
        more = [int(word) for word in listed.read_text().split()] if listed.exists() else []
        found += more
        waiting += more
    return found


@pytest.fixture
def long(options: list[str]):
    """A training in two processes that does not end soon, after its first steps; and its file of checkpoints."""
    process = subprocess.Popen(
        [*COMMAND, *options, "--trainer.max_epochs=100000", "--trainer.devices=2"],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"COLUMNS": "80"},
    )
    (output,) = [Path(word.partition("=")[2]) for word in options if word.startswith("--output")]
    ends = time.monotonic() + 120
    while not list(output.glob("fastflow/mvtec/stripes/*/resume.ckpt")) and time.monotonic() < ends:
        time.sleep(0.05)
    yield process
    process.kill()
    process.communicate()


linux = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")


@linux
def test_ctrl_c_ends_all_processes_after_a_step(long: subprocess.Popen[str], capsys: pytest.CaptureFixture) -> None:
    others = children(long)
    long.send_signal(signal.SIGINT)
    _, error = long.communicate(timeout=60)
    assert long.returncode == 130
    assert "Stopping after this step" in error
    run = next(word for word in error.split() if word.endswith("run-001"))
    assert main(["train", "--resume", run, "--trainer.max_epochs=1", "--trainer.devices=1"]) == 0
    assert gone(others)


@linux
def test_a_process_that_was_killed_ends_the_training(long: subprocess.Popen[str]) -> None:
    os.kill(children(long)[-1], signal.SIGKILL)
    _, error = long.communicate(timeout=60)
    assert long.returncode == 2
    assert "A process of the training has ended before the others: try fewer --trainer.devices. The state" in error
    assert "Traceback" not in error


@linux
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_process_outlives_the_command(long: subprocess.Popen[str], number: int) -> None:
    others = children(long)
    long.send_signal(number)
    long.communicate(timeout=20)
    assert long.returncode == -number
    assert others
    assert gone(others)


def gone(processes: list[int]) -> bool:
    """Return whether all processes end within seconds."""
    ends = time.monotonic() + 20
    while time.monotonic() < ends:
        if not any(Path(f"/proc/{pid}").exists() for pid in processes):
            return True
        time.sleep(0.1)
    return False
