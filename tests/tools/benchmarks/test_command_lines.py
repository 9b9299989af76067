"""The command line of each tool takes its options directly."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = sorted((Path(__file__).parents[3] / "tools/benchmarks").glob("[!_]*.py"))


@pytest.mark.parametrize("tool", [tool for tool in TOOLS if tool.stem != "detection"], ids=lambda tool: tool.stem)
def test_help_lists_options_and_no_subcommands(tool: Path) -> None:
    done = subprocess.run([sys.executable, tool, "--help"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--" in done.stdout
    assert "subcommand" not in done.stdout
