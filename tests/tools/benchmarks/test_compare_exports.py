"""The comparison of exports: its tables, ours only, and with anomalib where it is installed."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest

import compare_exports
from exports.settings import NAMES, RUNS, Setting
from exports.tables import FILES, LATENCIES, latencies
from exports.timing import take_turns

TOOL = Path(compare_exports.__file__)
SMALL = ["--models", "fastflow", "--backbones", "resnet18", "--size=64", "--images=2", "--repeats=3", "--threads=1"]


def rows(shown: str) -> list[list[str]]:
    lines = [line for line in shown.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line[1:-1].split("|")] for line in lines if "---" not in line]


def test_ratios_are_those_of_pairs() -> None:
    times = {"ours": [1.0, 2.0, 4.0], "ours, default": [2.0, 2.0, 2.0], "anomalib": [3.0, 4.0, 20.0]}
    *_, ours, default = latencies(times)
    assert (ours, default) == ("3 (2.5 to 4)", "2 (1.75 to 6)")  # the ratio of the medians would be 2 for both


class Request:
    """A request that records its calls."""

    def __init__(self, name: str, asked: list[str]) -> None:
        self.name, self.asked = name, asked

    def start_async(self) -> None:
        self.asked.append(self.name)

    def wait(self) -> None:
        pass


def test_requests_take_turns_in_reversed_order() -> None:
    asked: list[str] = []
    spent = take_turns([Request("a", asked), Request("b", asked)], repeats=2)
    assert "".join(asked) == "abbaabbaab"
    assert [len(times) for times in spent] == [2, 2]


def test_exports_are_repeated_if_they_would_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    exported: list[str] = []

    def call(python: str, command: str, names: list[str], setting: Setting, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / {"export": "files.json", "measure": "latencies.json"}[command]).write_text("{}")
        if command == "export":
            exported.extend(names)

    versions = {"openvino": "1"}
    monkeypatch.setattr(compare_exports, "call", call)
    monkeypatch.setattr(compare_exports, "versions", lambda python: dict(versions))
    pythons = {"ours": sys.executable}
    setting = Setting("fastflow", "resnet18", size=64, images=2, threads=1, repeats=3)
    compare_exports.compare(pythons, setting, tmp_path)
    compare_exports.compare(pythons, replace(setting, repeats=5), tmp_path)
    assert exported == ["ours"]
    assert "ours has exports already" in capsys.readouterr().err
    compare_exports.compare(pythons, replace(setting, size=96), tmp_path)
    assert exported == ["ours"] * 2
    versions["openvino"] = "2"
    compare_exports.compare(pythons, replace(setting, size=96), tmp_path)
    assert exported == ["ours"] * 3
    assert "already" not in capsys.readouterr().err


def test_versions_are_those_of_the_environment() -> None:
    assert compare_exports.versions(sys.executable)["torch"] == version("torch")


def test_ours_is_exported_once_and_timed(tmp_path: Path) -> None:
    pytest.importorskip("nncf")
    run = [sys.executable, str(TOOL), str(tmp_path), *SMALL]
    first = subprocess.run(run, capture_output=True, text=True, check=True)
    files, timed = rows(first.stdout)[:3], rows(first.stdout)[3:]
    assert files[0] == FILES
    assert [row[2] for row in files[1:]] == ["ours", "ours, default"]
    for *_, whole, half, int8 in files[1:]:
        assert float(int8) < float(half) < 0.6 * float(whole)
    assert timed[0] == LATENCIES
    assert [row[2].partition(" (")[0] for row in timed[1:]] == list(RUNS)
    assert all(float(row[3].split()[0]) > 0 and row[5] == "" for row in timed[1:])
    shown = subprocess.run([*run, "--show"], capture_output=True, text=True, check=True)
    assert shown.stdout == first.stdout
    assert "exports" in first.stderr
    assert shown.stderr == ""


@pytest.mark.peer
def test_anomalib_is_exported_too(tmp_path: Path) -> None:
    pytest.importorskip("nncf")
    python = os.environ.get("ANOMALIB_FLOWS_PEER")
    if not python:
        pytest.skip("ANOMALIB_FLOWS_PEER names no interpreter that has anomalib")
    subprocess.run([sys.executable, str(TOOL), str(tmp_path), "--anomalib", python, *SMALL], check=True)
    results = json.loads((tmp_path / "results.json").read_text())["compared"][0]
    assert list(results["files"]) == list(NAMES)
    assert all(len(times) == 3 for run in results["runs"].values() for times in run["ms"].values())
