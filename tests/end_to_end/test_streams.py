"""Standard streams that are closed, full or without a reader end no command, and lost output is said."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from anomalib_flows.cli import main

pytestmark = [
    pytest.mark.filterwarnings("always"),  # the command line prints them
    pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full"),  # noqa: PTH110
]
PROGRAM = f"{sys.executable} -m anomalib_flows.cli"


def shell(line: str) -> subprocess.CompletedProcess[str]:
    command = ["sh", "-c", line.format(program=PROGRAM)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("line", "code", "printed"),
    [
        ("{program} list models > /dev/full", 2, "error: What this command prints was lost (No space left on device)"),
        ("{program} cache --help > /dev/full", 2, "error: What this command prints was lost"),
        ("{program} list models >&-", 0, ""),
        ("{program} list models 2>&-", 0, "fastflow"),
        ("{program} runs nowhere 2>&-", 2, ""),
        ("{program} runs nowhere 2> /dev/full", 2, ""),
        ("{program} list models >&- 2>&- <&-", 0, ""),
        ("{program} list models | true", 0, ""),
    ],
)
def test_the_exit_code_says_what_happened(line: str, code: int, printed: str) -> None:
    done = shell(line)
    assert done.returncode == code
    assert printed in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_training_goes_on_without_a_place_to_show_progress(train: Callable[..., Path], monkeypatch) -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123
        monkeypatch.setattr(sys, "stderr", full)
        assert (train("--trainer.max_epochs=1") / "metrics.json").is_file()


def test_training_goes_on_without_a_place_to_print(trained: Path, monkeypatch, capsys) -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123
        monkeypatch.setattr(sys, "stdout", full)
        assert main(["test", str(trained)]) == 2
    assert "error: What this command prints was lost (No space left on device)" in capsys.readouterr().err
    assert (trained / "report.html").is_file()


def test_files_never_take_the_place_of_a_closed_stream(tmp_path: Path) -> None:
    program = (
        "import os; from anomalib_flows.cli.streams import open_closed_streams\n"
        "open_closed_streams()\n"
        f"file = open({str(tmp_path / 'table.csv')!r}, 'w')\n"
        "os.write(2, b'a library complains'); os.write(1, b'or talks')\n"
    )
    line = f'exec 1>&- 2>&- 0<&-; exec {sys.executable} -c "$PROGRAM"'
    subprocess.run(["sh", "-c", line], env=os.environ | {"PROGRAM": program}, check=True)
    assert (tmp_path / "table.csv").read_text() == ""
