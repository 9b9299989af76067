"""``benchmark --executor ray``: a real local Ray gives the figures of ``local``, whatever happens to it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from test_benchmark import FOLDER, figures, rows, write_grid
from test_start import imported

from anomalib_flows import __version__
from anomalib_flows.benchmark import on_ray
from anomalib_flows.benchmark.options import Execution
from anomalib_flows.benchmark.running import Plan
from anomalib_flows.cli import main
from anomalib_flows.core.errors import InputError

pytest.importorskip("ray")
pytestmark = [
    pytest.mark.filterwarnings("ignore:Too few calibration images"),
    pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="workers are found in /proc"),
]
WORDS = ["benchmark", "-c", "grid.yaml"]
LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F"}
"""127.0.0.1 as the tables of the system write it."""


def started(*words: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    command = [sys.executable, "-m", "anomalib_flows.cli", *WORDS, "--executor=ray", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def until(found: Callable[[], Any], command: subprocess.Popen[str]) -> Any:
    """Wait for what a running command brings about."""
    while not (value := found()):
        assert command.poll() is None, command.communicate()
        time.sleep(0.02)
    return value


def workers_of(log: Path) -> list[int]:
    """Processes that print to a log."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "fd/1").readlink() == log:
                found.append(int(process.name))
        except OSError:
            continue
    return found


def listening(folder: Path) -> set[str]:
    """Addresses at which processes that were started in a folder listen, as the system writes them."""
    sockets, addresses = set(), set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink() == folder:
                sockets |= {str(one.readlink()) for one in (process / "fd").iterdir()}
        except OSError:
            continue
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
                addresses.add(fields[1].partition(":")[0])
    return addresses


def test_a_lost_worker_changes_no_figure(two_categories: Path) -> None:
    write_grid(models="fastflow", categories="a", seeds=[0, 1])
    assert main([*WORDS, "--output=local"]) == 0
    command = started()
    until((FOLDER / "fastflow/mvtec/a/fastflow-seed1/config.yaml").exists, command)
    log = two_categories / FOLDER / "logs/mvtec-a-fastflow-seed1.txt"
    [worker] = workers_of(log)
    assert listening(two_categories) <= LOOPBACK
    os.kill(worker, signal.SIGKILL)
    said, errors = command.communicate()
    assert command.returncode == 0, errors
    assert figures() == figures(Path("local"))
    assert [bool(row["seconds"]) for row in rows()] == [True, False], "the last one was continued"
    assert "fastflow, mvtec a, seed 1: image AUROC" in said
    assert not list(FOLDER.glob(".tmp*"))
    ends = time.monotonic() + 30
    while workers_of(log):  # Ray does not wait for them
        assert time.monotonic() < ends
        time.sleep(0.1)


@pytest.mark.slow
def test_ctrl_c_stops_all_and_the_same_command_continues(two_categories: Path) -> None:
    write_grid(models="fastflow")
    assert main([*WORDS, "--output=local"]) == 0
    command = started()
    until(lambda: list(FOLDER.rglob("config.yaml")), command)
    command.send_signal(signal.SIGINT)
    assert command.communicate()[1].rstrip().endswith("Stopped. To continue, type the same command again.")
    assert command.returncode == 130
    for log in (two_categories / FOLDER / "logs").iterdir():
        while workers_of(log):  # Ray takes seconds to end them
            time.sleep(0.1)
    assert main(WORDS) == 0
    assert figures() == figures(Path("local"))


def test_a_run_that_fits_nowhere_is_refused(two_categories: Path) -> None:
    write_grid()
    said, errors = (command := started("--cpus-per-run=1000")).communicate()
    assert command.returncode == 2, errors
    assert "No machine of the Ray cluster has 1000 CPUs and 0 GPUs for a run (there are: " in errors
    assert "set --cpus-per-run and --gpus-per-run." in errors
    assert errors.count("\n") == 1
    assert not said
    assert not FOLDER.exists()


def test_runs_fit_where_their_resources_are() -> None:
    nodes = [{"CPU": 8.0, "GPU": 1.0}, {"CPU": 3.0}, {}]
    for cpus, gpus, runs in ((1, 0.0, 11), (2, 0.0, 5), (1, 0.1, 8), (2, 0.5, 2), (8, 1.0, 1)):
        assert on_ray.room(nodes, {"CPU": cpus, "GPU": gpus}) == runs
    for cpus, gpus in ((9, 0.0), (1, 2.0)):
        with pytest.raises(InputError, match="No machine"):
            on_ray.room(nodes, {"CPU": cpus, "GPU": gpus})


def test_a_complete_grid_can_be_described(tmp_path: Path, monkeypatch) -> None:
    cluster = SimpleNamespace(nodes=lambda: [{"Alive": True, "Resources": {"CPU": 2.0}}], shutdown=list)
    monkeypatch.setattr(on_ray, "connected", lambda address: cluster)
    complete = Plan(folder=tmp_path, cells=[], known={})
    with on_ray.on_ray(Execution(executor="ray", address="auto"), complete) as (_, at_once):
        assert at_once == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--address=127.0.0.1:6379"], "--address is for Ray alone: add --executor ray, or leave it out."),
        (["--gpus-per-run=1"], "--gpus-per-run is for Ray alone"),
        (["--executor=ray", "--address=127.0.0.1:1"], "--address 127.0.0.1:1: no Ray cluster answers there"),
        (["--executor=ray", "--address=auto"], "Ray cannot connect to --address auto (Could not find any running Ray"),
        (
            ["--executor=ray", "--address=ray://127.0.0.1:10001"],
            "--address cannot be ray://127.0.0.1:10001",
        ),
        (["--executor=ray", "--gpus-per-run=1.5"], "--gpus-per-run cannot be 1.5"),
        (["--executor=dask"], "--executor cannot be dask"),
    ],
)
def test_a_wrong_executor_is_one_sentence(two_categories: Path, monkeypatch, capsys, words: list[str], said) -> None:
    monkeypatch.setattr(on_ray, "ANSWER", 5)
    write_grid()
    assert main([*WORDS, *words]) == 2
    error = capsys.readouterr().err.removeprefix("error: ")
    assert error.startswith(said)
    assert error.count("\n") == 1
    assert not FOLDER.exists()


def test_ray_is_imported_when_it_is_asked_for(two_categories: Path) -> None:
    write_grid()
    assert "ray" not in imported(*WORDS, "--plan")


def test_without_ray_the_package_is_named(two_categories: Path, monkeypatch, capsys) -> None:
    monkeypatch.setitem(sys.modules, "ray.exceptions", None)
    write_grid()
    assert main([*WORDS, "--executor=ray"]) == 2
    assert "--executor ray needs the module ray: run pip install 'ray[data]'." in capsys.readouterr().err


def test_workers_refuse_what_would_be_lost(tmp_path: Path) -> None:
    cell: Any = None
    for mark, version, said in (
        (tmp_path / "results/.tmp", __version__, rf"cannot see {tmp_path}/results: `output` must be on a disk"),
        (tmp_path, "0.0.1", rf"has version {__version__}: install 0.0.1 on all machines"),
    ):
        with pytest.raises(InputError, match=said):
            on_ray.make(cell, 1, tmp_path / "log", True, mark, version)
