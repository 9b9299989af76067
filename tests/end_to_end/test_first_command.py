"""The default model trains without a network, and detects what the README says."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from anomalib_flows.cli import main


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the network was asked")

    for name in ("getaddrinfo", "create_connection"):
        monkeypatch.setattr(socket, name, refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "no-hub"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def metrics() -> dict[str, Any]:
    (file,) = Path("results").glob("*/*/*/run-001/metrics.json")
    return json.loads(file.read_text())


@pytest.mark.parametrize("model", ["fastflow", "cflow"])
@pytest.mark.filterwarnings("ignore:Too few calibration images")
def test_the_default_encoder_needs_no_network(model: str) -> None:
    short = ["--image.size=64", "--trainer.max_steps=4", "--pictures=0"]
    assert main(["train", f"--model={model}", "--data=synthetic", *short]) == 0
    assert metrics()["image"]["auroc"] > 0.5


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Too few calibration images")
def test_the_first_command_of_the_readme_detects_defects() -> None:
    assert main(["train", "--model=fastflow", "--data=synthetic"]) == 0
    found = metrics()
    assert found["image"]["auroc"] >= 0.97
    assert found["pixel"]["auroc"] >= 0.985
