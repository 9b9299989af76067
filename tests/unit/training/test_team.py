"""Processes that train together: what they report, what they leave as it was, and who can reach them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from socket import create_connection

import pytest
import torch.distributed as dist

from anomalib_flows.core.errors import InputError
from anomalib_flows.training.team import HOST, rank, store_here, team

SCRIPT = """
from functools import partial
from anomalib_flows.training.team import team
with team(partial(print, "task"), 2):
    pass
"""


def fail_in_the_last() -> None:
    """Wait for all others, which then lose the connection to the last one."""
    if rank() == 2:
        raise InputError("The last process has no memory.")
    dist.barrier()


def test_the_cause_of_a_failure_is_named_instead_of_its_consequences() -> None:
    with pytest.raises(InputError, match="The last process has no memory"), team(fail_in_the_last, 3):
        fail_in_the_last()


def test_the_environment_keeps_what_was_set_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "7")
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.delenv("MLFLOW_LOGGING_LEVEL", raising=False)
    with team(dist.barrier, 2):
        dist.barrier()
        assert os.environ["RANK"] == "0"
        monkeypatch.setenv("MLFLOW_LOGGING_LEVEL", "ERROR")
    assert (os.environ["RANK"], os.environ["MLFLOW_LOGGING_LEVEL"]) == ("7", "ERROR")
    assert "LOCAL_RANK" not in os.environ


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have one address for this machine")
def test_other_machines_cannot_reach_the_processes() -> None:
    store = store_here()
    create_connection((HOST, store.port)).close()
    with pytest.raises(ConnectionRefusedError):
        create_connection(("127.0.0.2", store.port))


def test_a_process_that_cannot_begin_ends_the_training(tmp_path: Path) -> None:
    """A program without a guard of its main part would start itself again."""
    (tmp_path / "program.py").write_text(SCRIPT)
    done = subprocess.run([sys.executable, tmp_path / "program.py"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "InputError: A process of the training has ended before the others" in done.stderr
