"""Commands are found by their records."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

import pytest

from anomalib_flows import commands
from anomalib_flows.cli import main
from anomalib_flows.cli.app import find_commands

FIND = """
import sys
from anomalib_flows.cli.app import find_commands
find_commands()
print(*sys.modules)
"""


def test_commands_are_found_in_their_package() -> None:
    found = find_commands()
    assert {"train", "test", "predict", "calibrate", "export", "data check", "data prepare", "list"} <= set(found)
    assert len(found) <= len(list(pkgutil.iter_modules(commands.__path__)))
    orders = [command.order for command in found.values()]
    assert orders == sorted(orders)
    assert len(set(orders)) == len(orders)


def test_to_find_commands_imports_nothing_slow() -> None:
    finished = subprocess.run([sys.executable, "-c", FIND], capture_output=True, text=True, check=True)
    slow = {"torch", "numpy", "openvino", "lightning", "pydantic", "jsonargparse", "timm", "PIL"}
    assert not slow & set(finished.stdout.split())


def test_a_module_adds_a_command(monkeypatch: pytest.MonkeyPatch, tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "greet.py").write_text(
        "from anomalib_flows.commands.command import Command\n"
        "def greet(name: str, times: int = 1) -> None:\n"
        '    """Greet somebody.\n\n    Args:\n        name: Who is greeted.\n        times: How often.\n    """\n'
        "    print(*[f'Hello {name}.'] * times)\n"
        "COMMAND = Command('greet', 'greet somebody', greet, order=999)\n"
    )
    monkeypatch.setattr(commands, "__path__", [*commands.__path__, str(tmp_path)])
    monkeypatch.delitem(sys.modules, "anomalib_flows.commands.greet", raising=False)
    assert list(find_commands())[-1] == "greet"
    assert main(["greet", "Ada", "--times", "2"]) == 0
    assert capsys.readouterr().out == "Hello Ada. Hello Ada.\n"


@pytest.mark.parametrize("command", find_commands())
def test_a_commands_help_describes_all_options(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([*command.split(), "--help"])
    assert stopped.value.code == 0
    shown = capsys.readouterr().out
    assert f"anomalib-flows {command}" in shown
    assert "`" not in shown.replace("``", "")


def test_types_defaults_and_meanings_are_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "--trainer.max_epochs" in shown
    assert "Passes over the training images" in shown
    assert "default: 0.15" in shown
    assert "{calibrated,paper}" in shown


def test_a_group_is_listed_by_its_first_word(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "--help"]) == 0
    shown = capsys.readouterr().out
    assert "data check" in shown
    assert "  train" not in shown
