"""Command lines whose work is not done."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from anomalib_flows.cli import main
from anomalib_flows.run.component import Component
from anomalib_flows.run.config import TrainConfig

Parsed = Callable[..., Any]


class ReadError(Exception):
    """The options are read, and the work would begin."""


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> Parsed:
    """Return what ``train``, ``test``, ``predict`` or ``calibrate`` hands to the library."""

    def run(command: str, *words: object) -> Any:
        received: list[Any] = []

        def receive(*arguments: Any, **_: Any) -> None:
            received.extend(arguments)
            raise ReadError

        module = SimpleNamespace(**{command: receive})
        monkeypatch.setitem(sys.modules, f"anomalib_flows.experiment.{command}", module)
        with pytest.raises(ReadError):
            main([command, *map(str, words)])
        return received[0] if command == "train" else received[1]

    return run


@pytest.fixture
def fails(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command line that must fail with one sentence, and return the sentence."""

    def run(*words: object) -> str:
        capsys.readouterr()
        assert main([str(word) for word in words]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        return line.removeprefix("error: ")

    return run


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """The folder of a run, of which nothing but the configuration is there."""
    config = TrainConfig.from_dict(
        {
            "model": {"class_path": "fastflow", "init_args": {"backbone": "tf_efficientnet_lite0", "steps": 3}},
            "data": Component("synthetic", {"category": "board"}),
            "loader": {"batch_size": 5, "workers": 0},
            "false_alarm_rate": 0.2,
            "pictures": 7,
            "seed": 9,
        }
    )
    folder = tmp_path / "run-001"
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump(config.to_dict()))
    return folder
