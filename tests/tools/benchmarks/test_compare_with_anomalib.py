"""The comparison of calls and commands with anomalib's: ours only, and with anomalib where it is installed."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import compare_with_anomalib
from anomalib_flows.encoders.batch_norm import without_batch_norms
from comparison.calls import describe
from comparison.commands import COMMAND_ROWS, Command, Place, commands, our_test_words, our_train_words
from comparison.settings import ALL_VECTORS, COMPILED, INFERENCE, TRAINING, Contender, Setting, contest
from comparison.turns import ratios, spread, take_turns
from comparison.workers import Ours, multiply_adds, our_model, prepare

FASTFLOW, CFLOW = (Setting(model, "resnet18", batch=4, size=64, threads=1) for model in ("fastflow", "cflow"))


class Counted:
    """A contender that records its calls, and measures the number of all calls."""

    def __init__(self, name: str, asked: list[str]) -> None:
        self.name, self.asked = name, asked

    def measure(self) -> int:
        self.asked.append(self.name)
        return len(self.asked)


def test_contenders_take_turns_in_reversed_order() -> None:
    asked: list[str] = []
    replies = take_turns([Counted(name, asked) for name in "abc"], repeats=2, warm_up=1)
    assert "".join(asked) == "abccbaabc"
    assert replies == [[6, 7], [5, 8], [4, 9]]


def test_ratios_are_those_of_the_same_turn() -> None:
    assert spread(ratios([3.0, 4.0, 20.0], [1.0, 2.0, 4.0])) == "3 (2.5 to 4)"  # that of the medians would be 2


def test_a_row_has_ratios_and_the_distance_from_the_floor() -> None:
    ours = Contender("ours", TRAINING, "bfloat16", cached=True)
    times = {
        Contender("products", TRAINING, "float32"): [9.0, 9.0],
        Contender("products", TRAINING, "bfloat16"): [0.5, 1.0],
        Contender("anomalib", TRAINING): [30.0, 60.0],
        ours: [3.0, 6.0],
    }
    assert describe(ours, 4.0, 100.0, times) == [
        "training step",
        "ours, bfloat16, features cached",
        "4.5 (3.75 to 5.25)",
        "10 (10 to 10)",
        "",  # anomalib in bfloat16 did not take part
        "4",
        "3",  # the median of 2 and 4
        "50 (50 to 50)",
        "100",
    ]


@pytest.mark.parametrize("row", [INFERENCE, TRAINING, COMPILED, ALL_VECTORS])
def test_all_are_compared_with_anomalib_in_float32(row: str) -> None:
    contenders = contest(row, CFLOW)
    assert contenders[0] == Contender("anomalib", row)
    assert len({str(contender) for contender in contenders}) == len(contenders)
    assert any(contender.compiled for contender in contenders) == (row == COMPILED)


def test_multiply_adds_are_those_of_the_flow_forward_and_backward() -> None:
    steps, weights = 8, 9 * 3 / 4  # convolutions of 3 x 3 from C/2 to C/2 and to C channels have 9 * 3/4 C^2 weights
    forward = sum(steps * weights * channels**2 * side**2 for channels, side in {64: 16, 128: 8, 256: 4}.items())
    _, about = prepare(FASTFLOW, Contender("ours", TRAINING, cached=True))
    assert about["multiply_adds"] == pytest.approx(3 * forward / 1e9, rel=1e-3)  # scales' gradients have a few
    _, with_encoder = prepare(FASTFLOW, Contender("ours", TRAINING))
    assert with_encoder["multiply_adds"] > about["multiply_adds"]


@pytest.mark.parametrize("setting", [FASTFLOW, CFLOW], ids=["fastflow", "cflow"])
@pytest.mark.parametrize("row", [INFERENCE, TRAINING])
def test_multiply_adds_are_those_of_the_second_call(setting: Setting, row: str) -> None:
    """The first call folds the encoder's batch norms, for which it encodes twice more."""
    import torch

    images = torch.randn(setting.batch, 3, setting.size, setting.size)
    ours, trains = Ours(setting, Contender("ours", row), images), row == TRAINING
    ours.model.train(trains)
    first, second, third = (flops(ours.train if trains else ours.predict) for _ in range(3))
    assert first > second == third
    _, about = prepare(setting, Contender("ours", row))
    assert about["multiply_adds"] == pytest.approx(second / (setting.batch if trains else 1))


def flops(call: Callable[[], Any]) -> float:
    """Count the multiply-adds of one call, in units of 1e9."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops() / 2e9


def test_multiply_adds_are_counted_after_a_warm_up() -> None:
    """A network with batch norms that folds them in its first call, as our encoder does."""
    import torch

    size, images = 8, torch.randn(1, 3, 8, 8)
    encoder = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.BatchNorm2d(4)).eval()
    folded: list[torch.nn.Module] = []

    def call() -> None:
        if not folded:
            folded.append(without_batch_norms(encoder, images))
        folded[0](images)

    assert multiply_adds(call) == pytest.approx(3 * 4 * 9 * size**2 / 1e9)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("setting", [FASTFLOW, CFLOW], ids=["fastflow", "cflow"])
def test_a_training_step_trains(setting: Setting, precision: str) -> None:
    import torch

    images = torch.randn(setting.batch, 3, setting.size, setting.size)
    ours = Ours(setting, Contender("ours", TRAINING, precision), images)
    before = [p.clone() for p in ours.model.parameters()]
    ours.train()
    changed = [bool((p != q).any()) for p, q in zip(ours.model.parameters(), before, strict=True)]
    assert changed == [p.requires_grad for p in ours.model.parameters()]


@pytest.mark.parametrize("contender", contest(ALL_VECTORS, CFLOW)[1:], ids=str)
def test_all_vectors_are_used_once(contender: Contender) -> None:
    import torch

    model = our_model(CFLOW, contender)
    taken = [0, 0, 0]
    for [(layer, vectors, _)] in model.training_batches(model.encode(torch.randn(CFLOW.batch, 3, 64, 64))):
        assert len(vectors) == contender.vectors
        taken[layer] += len(vectors)
    assert taken == [CFLOW.batch * side**2 for side in (16, 8, 4)]


def test_our_commands_train_and_test(root: Path, tmp_path: Path) -> None:
    place = Place(root, "noise", tmp_path / "results")
    words = [lambda: our_train_words(FASTFLOW, place, "a", "32"), lambda: our_test_words(FASTFLOW, place, "a")]
    for of_one in words:
        reply = Command(sys.executable, "ours", 1, of_one).measure()
        assert reply["seconds"] > 0
        assert 50 < reply["peak"] < 50_000
    assert place.read("test") == 6
    assert len(list(place.results.rglob("metrics.json"))) == 1


def test_a_command_that_fails_ends_the_comparison() -> None:
    with pytest.raises(SystemExit, match="no command 'nonsense'[\\s\\S]*This command failed"):
        Command(sys.executable, "ours", 1, lambda: ["nonsense"]).measure()


def test_commands_need_images(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["compare_with_anomalib.py", "--ours=a", "--anomalib=b", "--rows", "one epoch"]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit):
        compare_with_anomalib.parse()
    assert "give --root and --category" in capsys.readouterr().err


@pytest.mark.peer
@pytest.mark.parametrize("model", ["fastflow", "cflow"])
def test_every_row_beside_anomalib(model: str, root: Path) -> None:
    python = os.environ.get("ANOMALIB_FLOWS_PEER")
    if not python:
        pytest.skip("ANOMALIB_FLOWS_PEER names no Python interpreter that has anomalib")
    options = [f"--ours={sys.executable}", f"--anomalib={python}", f"--model={model}", "--backbones=resnet18"]
    options += ["--size=128", "--batch=4", "--repeats=2", "--threads=1", f"--root={root}", "--category=noise"]
    helped = COMMAND_ROWS[:2] if model == "fastflow" else []  # which takes long and is the same for both
    rows = [INFERENCE, TRAINING, COMPILED, ALL_VECTORS, *helped, *COMMAND_ROWS[2:]]
    tool = compare_with_anomalib.__file__
    done = subprocess.run([sys.executable, tool, *options, "--rows", *rows], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    setting = Setting(model, "resnet18", batch=4, size=128, threads=1)
    shown = [
        [cell.strip() for cell in line.strip("|").split("|")][:2] for line in done.stdout.splitlines() if "|" in line
    ]
    expected = [[row, str(c)] for row in rows[: 4 if model == "cflow" else 3] for c in contest(row, setting)]
    place = Place(root, "noise", root)
    expected += [[row, name] for row, by_name in commands(setting, place).items() for name in by_name if row in rows]
    assert [cells for cells in shown if cells[0] in rows] == expected
