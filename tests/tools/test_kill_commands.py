"""The tool that kills commands finds no fault in them, and finds faults where there are some."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import kill_commands

TOOL = Path(kill_commands.__file__)
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no kill -9")


def outcomes(tmp_path: Path, *options: str) -> dict[str, dict[str, Any]]:
    """Run the tool in a process of its own, since forks of one that has computed may hang."""
    file = tmp_path / "kills.json"
    done = subprocess.run(
        [sys.executable, str(TOOL), "--output", str(file), *options], capture_output=True, text=True, check=False
    )
    assert file.exists(), done.stderr
    return {outcome["name"]: outcome for outcome in json.loads(file.read_text())}


def test_five_kills_of_quick_commands_lose_nothing(tmp_path: Path) -> None:
    quick = ["test", "calibrate", "prepare", "prepare more", "cache clear"]
    found = outcomes(tmp_path, "--kills", "5", "--only", *quick)
    assert [*found] == quick
    for name, outcome in found.items():
        assert not outcome["faults"], name
        assert outcome["kills"], name


@pytest.mark.slow
def test_a_hundred_kills_of_each_command_lose_nothing(tmp_path: Path) -> None:
    for name, outcome in outcomes(tmp_path, "--kills", "100").items():
        assert not outcome["faults"], name
        assert outcome["kills"] >= 90, name


BROKEN = """
import shutil, sys
sys.path[:0] = [{tools!r}]
from pathlib import Path
import kill_commands
from anomalib_flows.core import commit

def one_by_one(temporary, folder):
    import time
    for entry in sorted(temporary.iterdir()):
        if entry.is_file():
            time.sleep(0.2)
            entry.replace(folder / entry.name)

commit._decide = one_by_one
sys.exit(kill_commands.main({options!r}))
"""


def test_files_that_are_replaced_one_by_one_are_found(tmp_path: Path) -> None:
    options = ["--kills", "12", "--only", "calibrate", "--output", str(tmp_path / "kills.json")]
    program = BROKEN.format(tools=str(TOOL.parent), options=options)
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, check=False).returncode == 1
    (outcome,) = json.loads((tmp_path / "kills.json").read_text())
    assert any("neither old nor new" in fault for fault in outcome["faults"])
