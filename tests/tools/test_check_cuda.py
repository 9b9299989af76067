"""The tool that checks CUDA runs all its checks on a CPU, without network, and records what fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import check_cuda
from cuda_checks import tables
from cuda_checks.place import Place
from cuda_checks.processes import Check, run

TOOL = Path(check_cuda.__file__)
NOT_NEEDED = "FrEIA anomalib av hypothesis nncf onnx onnxscript openvino sklearn tensorboard"
BARE = f"""
import socket
from importlib.machinery import PathFinder
find = PathFinder.find_spec
PathFinder.find_spec = lambda name, *rest: None if name.partition(".")[0] in {NOT_NEEDED.split()} else find(name, *rest)
def refuse(*_, **__):
    raise OSError("no network")
socket.socket.connect = socket.getaddrinfo = refuse
"""
"""A machine that has few packages and no network."""
LONG = ["compiled", "cflow exported", "tests of a GPU"]
"""Checks that take longer than the suite allows: a compiler's work, a second export, and pytest in pytest."""


def checks_of(folder: Path, *options: str) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    """Run the tool, and return what it printed and its JSON."""
    bare = folder / "bare"
    bare.mkdir(parents=True)
    (bare / "sitecustomize.py").write_text(BARE)
    path = os.pathsep.join([str(bare), *sys.path])
    command = [sys.executable, str(TOOL), "--device", "cpu", "--output", str(folder / "checks"), *options]
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True
    )
    file = folder / "checks" / "checks.json"
    assert file.exists(), done.stderr
    return done, json.loads(file.read_text())


def test_all_checks_pass_on_a_cpu(tmp_path: Path) -> None:
    done, found = checks_of(tmp_path, "--skip", *LONG)
    assert done.returncode == 0, done.stdout + done.stderr
    assert found["passed"]
    names = {check["name"] for check in found["checks"]}
    expected = {check.name for check in check_cuda.checks(Place("cpu", tmp_path))}
    assert names == {"device and photos"} | {name for name in expected if not any(word in name for word in LONG)}
    assert all(check["rows"] for check in found["checks"])
    table = (tmp_path / "checks" / "checks.md").read_text()
    assert all(f"| {name} | yes |" in table for name in names)
    for column in ("images/s", "share of it", "ms", "scores apart", "suggested"):
        assert f" {column} |" in table


def whole(place: Place) -> list[dict[str, Any]]:
    return [{"device": place.device}]


def broken(place: Place) -> list[dict[str, Any]]:
    raise ValueError("this\nfails")


def endless(place: Place) -> list[dict[str, Any]]:
    time.sleep(60)
    return []


def dying(place: Place) -> list[dict[str, Any]]:
    os._exit(7)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (whole, ""),
        (broken, "ValueError: this"),
        (endless, "took longer than 1 s"),
        (dying, "its process ended with 7"),
    ],
)
def test_what_becomes_of_a_check_is_recorded(function: Any, message: str, tmp_path: Path) -> None:
    outcome = run(Check("one", function, limit=1.0 if function is endless else 30.0), Place("cpu", tmp_path), 100)
    assert outcome.message.startswith(message)
    assert outcome.passed == (not message)
    assert outcome.rows == ([{"device": "cpu"}] if not message else [])


def test_without_time_nothing_is_started(tmp_path: Path) -> None:
    assert run(Check("one", whole), Place("cpu", tmp_path), 0.0).message == "not run: no time was left"


def test_for_cuda_processes_are_not_forked(tmp_path: Path) -> None:
    outcome = run(Check("one", whole), Place("cuda", tmp_path), 100)
    assert outcome.passed, outcome.message
    assert outcome.rows == [{"device": "cuda"}]


def test_others_go_on_and_the_exit_code_says_that_one_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # which main sets, and is set back
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(check_cuda, "begin", whole)
    monkeypatch.setattr(check_cuda, "checks", lambda _: [Check("bad", broken), Check("good", whole)])
    monkeypatch.setattr(sys, "argv", ["check_cuda.py", "--device=cpu", f"--output={tmp_path / 'checks'}"])
    assert check_cuda.main() == 1
    assert "2 of 3 checks passed" in capsys.readouterr().out
    table = (tmp_path / "checks" / "checks.md").read_text()
    assert "| bad | **no** |" in table
    assert "| good | yes |" in table
    with pytest.raises(SystemExit):  # what was found is never replaced
        check_cuda.main()
    assert "has checks already" in capsys.readouterr().err


def test_cuda_is_asked_for_where_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(RuntimeError, match="torch finds no CUDA device"):
        check_cuda.begin(Place("cuda", tmp_path))


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, ""), (True, "yes"), (3, "3"), (0.12345, "0.123"), (12345.6, "12346"), ([1, 2.5], "1, 2.5"), ("a", "a")],
)
def test_cells(value: Any, expected: str) -> None:
    assert tables.written(value) == expected


@pytest.mark.peer
def test_beside_anomalib(tmp_path: Path) -> None:
    python = os.environ.get("ANOMALIB_FLOWS_PEER")
    if not python:
        pytest.skip("ANOMALIB_FLOWS_PEER names no Python interpreter that has anomalib")
    (folder,) = Path(python).parent.parent.glob("lib/python3*/site-packages")
    command = [sys.executable, str(TOOL), "--device=cpu", "--output", str(tmp_path / "checks"), "--only", "beside"]
    done = subprocess.run([*command, "--anomalib", str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "checks" / "checks.json").read_text())
    ratios = [row["ours / anomalib"] for check in found["checks"][1:] for row in check["rows"]]
    assert len(ratios) == 14
    assert all(ratio > 0 for ratio in ratios)
