"""A compiled loss is the loss, in one graph, and says what it lacks where it cannot be compiled."""

import copy
import os
import shutil
import subprocess
import sys
from typing import Any

import pytest
import torch

from anomalib_flows import CFlow, FastFlow
from anomalib_flows.core.errors import InputError
from anomalib_flows.training.module import compilation_explained, compiled_loss

needs_compiler = pytest.mark.skipif(not shutil.which(os.environ.get("CXX", "g++")), reason="there is no C++ compiler")


@needs_compiler
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", [FastFlow, CFlow])
def test_loss_and_gradients_are_those_of_the_uncompiled(kind: Any, precision: str, disturb, relative_error) -> None:
    torch.manual_seed(0)
    torch.compiler.reset()
    model = disturb(kind((64, 64), "test_resnet", weights="random", steps=2, layers=[1]), scale=0.03)
    first = next(iter(model.training_batches(model.encode(torch.randn(3, 3, 64, 64)))))
    batches = [first] if kind is CFlow else [first, [part[:2] for part in first]]  # an epoch's last one is smaller
    other = copy.deepcopy(model)
    fast = compiled_loss(other)
    for batch in batches:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            expected, found = model.loss(batch), fast(batch)
        expected.backward()
        found.backward()
        assert found.item() == pytest.approx(expected.item(), rel=1e-4 if precision == "float32" else 0.02)
    pairs = zip(model.parameters(), other.parameters(), strict=True)
    compared = [(p.grad, q.grad) for p, q in pairs if p.grad is not None]
    assert compared
    for expected, found in compared:
        assert relative_error(found, expected) < (1e-3 if precision == "float32" else 0.05)


def test_what_cannot_be_one_graph_is_refused() -> None:
    class Undecided:
        def loss(self, batch: Any) -> torch.Tensor:
            return batch.sum() if batch.sum() > 0 else batch.mean()

    with pytest.raises(InputError, match="`trainer.compile` is not possible here: "), compilation_explained():
        compiled_loss(Undecided())(torch.ones(2))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("message", "reason"), [("No compiler.\nSet CXX.", "No compiler."), ("", "TorchDynamoException.")]
)
def test_the_reason_is_said(message: str, reason: str) -> None:
    with (
        pytest.raises(InputError, match=f"`trainer.compile` is not possible here: {reason} Train without it"),
        compilation_explained(),
    ):
        raise torch._dynamo.exc.TorchDynamoException(message)


def test_a_missing_compiler_is_one_sentence(tmp_path) -> None:
    words = "train --model fastflow --model.backbone test_efficientnet --model.weights random --model.steps 1"
    words += " --data synthetic --image.size 64"
    command = [sys.executable, "-m", "anomalib_flows.cli", *words.split(), "--trainer.accelerator", "cpu"]
    lost = {"CXX": str(tmp_path / "no-compiler"), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    command += ["--trainer.compile", "true", "--output", str(tmp_path / "results")]
    done = subprocess.run(command, env=os.environ | lost, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert "--trainer.compile is not possible here: " in errors[0]
    assert "compiler" in errors[0]
    assert "Traceback" not in done.stderr
