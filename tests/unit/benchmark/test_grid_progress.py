"""Progress of a grid: runs that are under way count by what their logs show."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tqdm import tqdm

from anomalib_flows.benchmark.progress import GridBar, log_of, share_done
from anomalib_flows.benchmark.running import Plan
from anomalib_flows.training.fit import Progress


class Named(SimpleNamespace):
    __hash__ = object.__hash__


def cell(name: str, model: str = "m") -> Any:
    return Named(dataset="d", category="c", name=name, model=model)


def trained(log: Path, steps: int, of: int) -> None:
    """Write what the bar of a training writes, without its pauses."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf-8") as stream:
        bar = tqdm(total=of, desc="Training", unit="step", file=stream, mininterval=0)
        bar.set_postfix({"epoch": "1/2"})
        bar.update(steps)


def test_the_bar_of_a_training_and_of_a_test_is_read(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    trained(log, 1, 4)
    assert share_done(log, 0) == pytest.approx(0.2)
    with log.open("a") as stream:
        stream.write("x" * 10_000 + "\rPredicting:  50%|█████     | 5/10")
    assert share_done(log, 0) == pytest.approx(0.9)
    assert share_done(log, log.stat().st_mtime + 1) == 0  # of an earlier call
    assert share_done(tmp_path / "none.txt", 0) == 0
    log.write_bytes(b"\xff Training: x%")
    assert share_done(log, 0) == 0


def test_the_training_has_the_bar_that_is_looked_for(tmp_path: Path, capsys: Any) -> None:
    trainer: Any = SimpleNamespace(num_training_batches=4, max_epochs=1, global_step=2)
    Progress(Any).on_train_start(trainer, Any)
    log = tmp_path / "log.txt"
    log.write_text(capsys.readouterr().err, encoding="utf-8")
    assert share_done(log, 0) == pytest.approx(0.4)


def test_a_grid_has_an_estimate_before_a_run_has_ended(tmp_path: Path, capsys: Any) -> None:
    cells = [cell(str(number)) for number in range(4)]
    bar = GridBar(tmp_path, 5, cells)
    bar.since = 0
    trained(log_of(tmp_path, cells[0]), 1, 2)
    trained(log_of(tmp_path, cells[1]), 1, 4)
    bar.update()
    assert bar.bar.n == pytest.approx(1.6)
    with bar.alive():
        bar.end(cells[0], "first")
    assert bar.bar.n == pytest.approx(2.2)
    printed = capsys.readouterr()
    assert printed.out == "first\n"
    assert "2 of 5 runs" in printed.err


def test_an_estimate_takes_each_model_by_its_own_runs(tmp_path: Path) -> None:
    cells = [cell(f"{model}{number}", model) for model in "ab" for number in range(3)] + [cell("c0", "c")]
    known: Any = {cells[0]: SimpleNamespace(seconds=10.0, error=""), cells[3]: SimpleNamespace(seconds=30.0, error="")}
    plan = Plan(folder=tmp_path, cells=cells, known=known)
    assert plan.estimate(2) == (2 * 10 + 2 * 30 + 20) / 2
    assert Plan(folder=tmp_path, cells=cells, known={}).estimate(1) is None
