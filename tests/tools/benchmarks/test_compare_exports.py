"""The comparison of exports: the tables from figures, ours alone in small, and beside anomalib's where there is one."""

import json
import os
import subprocess
import sys
from argparse import Namespace
from importlib.metadata import version
from pathlib import Path

import pytest

import compare_exports

TOOL = Path(__file__).parents[2] / "tools/compare_exports.py"
SMALL = ["--models", "fastflow", "--backbones", "resnet18", "--size=64", "--images=2", "--repeats=3", "--threads=1"]


def rows(shown: str) -> list[list[str]]:
    lines = [line for line in shown.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line[1:-1].split("|")] for line in lines if "---" not in line]


def test_ratios_are_those_of_pairs() -> None:
    times = {"ours": [1.0, 2.0, 4.0], "ours, default": [2.0, 2.0, 2.0], "anomalib": [3.0, 4.0, 20.0]}
    *_, ours, default = compare_exports.latencies(times)
    assert (ours, default) == ("3 (2.5 to 4)", "2 (1.75 to 6)")  # the ratio of the medians would be 2 for both


class Request:
    """Notes when it is asked."""

    def __init__(self, name: str, asked: list[str]) -> None:
        self.name, self.asked = name, asked

    def start_async(self) -> None:
        self.asked.append(self.name)

    def wait(self) -> None:
        pass


def test_requests_take_turns_in_swapped_order() -> None:
    asked: list[str] = []
    spent = compare_exports.turns([Request("a", asked), Request("b", asked)], repeats=2)
    assert "".join(asked) == "abbaabbaab"
    assert [len(times) for times in spent] == [2, 2]


def test_exports_are_made_again_where_they_would_be_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    exported: list[str] = []

    def call(python: str, command: str, options: dict, folder: Path) -> None:
        if command == "export":
            exported.append(options["name"])
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "figures.json").write_text("{}")
        else:
            (folder / "latencies.json").write_text("{}")

    versions = {"openvino": "1"}
    monkeypatch.setattr(compare_exports, "call", call)
    monkeypatch.setattr(compare_exports, "versions", lambda python: dict(versions))
    given = {"folder": tmp_path, "ours": sys.executable, "names": ["ours"], "size": 64, "images": 2, "threads": 1}
    compare_exports.compare(Namespace(**given, repeats=3), "fastflow", "resnet18")
    compare_exports.compare(Namespace(**given, repeats=5), "fastflow", "resnet18")
    assert exported == ["ours"]
    assert "ours has exports already" in capsys.readouterr().err
    compare_exports.compare(Namespace(**given | {"size": 96}, repeats=3), "fastflow", "resnet18")
    assert exported == ["ours"] * 2
    versions["openvino"] = "2"
    compare_exports.compare(Namespace(**given | {"size": 96}, repeats=3), "fastflow", "resnet18")
    assert exported == ["ours"] * 3
    assert "already" not in capsys.readouterr().err


def test_versions_are_those_of_the_environment() -> None:
    assert compare_exports.versions(sys.executable)["torch"] == version("torch")


def test_ours_is_exported_once_and_timed(tmp_path: Path) -> None:
    pytest.importorskip("nncf")
    run = [sys.executable, str(TOOL), str(tmp_path), *SMALL]
    first = subprocess.run(run, capture_output=True, text=True, check=True)
    files, latencies = rows(first.stdout)[:3], rows(first.stdout)[3:]
    assert files[0] == compare_exports.FILES
    assert [row[2] for row in files[1:]] == ["ours", "ours, default"]
    for *_, whole, half, int8 in files[1:]:
        assert float(int8) < float(half) < 0.6 * float(whole)
    assert latencies[0] == compare_exports.LATENCIES
    assert [row[2].partition(" (")[0] for row in latencies[1:]] == list(compare_exports.RUNS)
    assert all(float(row[3].split()[0]) > 0 and row[5] == "" for row in latencies[1:])
    shown = subprocess.run([*run, "--show"], capture_output=True, text=True, check=True)
    assert shown.stdout == first.stdout
    assert "exports" in first.stderr
    assert shown.stderr == ""


@pytest.mark.peer
def test_anomalib_answers_too(tmp_path: Path) -> None:
    pytest.importorskip("nncf")
    python = os.environ.get("ANOMALIB_FLOWS_PEER")
    if not python:
        pytest.skip("ANOMALIB_FLOWS_PEER names no interpreter that has anomalib")
    subprocess.run([sys.executable, str(TOOL), str(tmp_path), "--anomalib", python, *SMALL], check=True)
    results = json.loads((tmp_path / "results.json").read_text())["compared"][0]
    assert list(results["figures"]) == list(compare_exports.NAMES)
    assert all(len(times) == 3 for run in results["runs"].values() for times in run["ms"].values())
