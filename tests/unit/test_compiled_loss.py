"""A compiled loss is the loss, and says what it lacks where it cannot be compiled."""

import copy
import os
import shutil
import subprocess
import sys
from typing import Any

import pytest
import torch

from anomalib_flows import CFlow, FastFlow
from anomalib_flows.training.compiled import compiled_loss

needs_compiler = pytest.mark.skipif(not shutil.which(os.environ.get("CXX", "g++")), reason="there is no C++ compiler")


@needs_compiler
@pytest.mark.parametrize("kind", [FastFlow, CFlow])
def test_loss_and_gradients_are_those_of_the_uncompiled(kind: Any, disturb, relative_error) -> None:
    torch.manual_seed(0)
    model = disturb(kind((64, 64), "test_resnet", weights="random", steps=2, layers=[1]), scale=0.03)
    batches = list(model.training_batches(model.encode(torch.randn(3, 3, 64, 64))))
    other = copy.deepcopy(model)
    fast = compiled_loss(other)
    for batch in batches[:1] if kind is CFlow else [*batches, [part[:2] for part in batches[0]]]:
        expected, found = model.loss(batch), fast(batch)
        expected.backward()
        found.backward()
        assert found.item() == pytest.approx(expected.item(), rel=1e-4)
    compared = [(p, q) for p, q in zip(model.parameters(), other.parameters(), strict=True) if p.grad is not None]
    assert compared
    for p, q in compared:
        assert relative_error(q.grad, p.grad) < 1e-3


def test_a_missing_compiler_is_one_sentence(tmp_path) -> None:
    words = "train --model fastflow --model.backbone texture13 --model.steps 1 --data synthetic --data.image_size 64"
    command = [sys.executable, "-m", "anomalib_flows.cli", *words.split(), "--trainer.compile", "true"]
    lost = {"CXX": str(tmp_path / "no-compiler"), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run(
        [*command, "--output", str(tmp_path / "results")], env=os.environ | lost, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert "--trainer.compile" in errors[0]
    assert "no-compiler" in errors[0] or "compiler" in errors[0]
    assert "Traceback" not in done.stderr
