"""What the README promises is what happens."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from anomalib_flows.cli import main

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_its_python_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    [code] = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    small = code.replace("image_size=128", "image_size=64").replace("max_epochs=3", "max_epochs=1")
    assert small.count("=64") == small.count("max_epochs=1") == 1
    with pytest.warns(UserWarning, match="calibration images"):
        exec(small, {})  # noqa: S102
    assert "tensor(" in capsys.readouterr().out


def test_its_commands_exist(capsys: pytest.CaptureFixture[str]) -> None:
    commands = [c for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) for c in block.splitlines()]
    ours = [c.rpartition("anomalib-flows ")[2].split("#")[0] for c in commands if "anomalib-flows " in c]
    training = [shlex.split(c) for c in ours if c.startswith("train")]
    assert len(training) >= 5
    for arguments in training:
        with pytest.raises(SystemExit) as stopped:
            main([*arguments, "--print_config"])
        assert stopped.value.code in (0, None)


def test_the_test_command_is_what_ci_runs() -> None:
    command = next(line for line in README.splitlines() if line.endswith(".venv/bin/tox"))
    assert command.replace("pip install", "pip install -q") in (ROOT / ".ci/run").read_text()


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)]+)\)", README))
def test_its_links_lead_somewhere(link: str) -> None:
    assert (ROOT / link).exists()
