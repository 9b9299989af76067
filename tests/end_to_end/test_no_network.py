"""No command uses the network unless it is asked to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from tiny import SMALL

from anomalib_flows.cli.app import find_commands
from published import image, pack
from reference import peers

BLOCKED = """
import socket, traceback
def refuse(name):
    def refused(*arguments, **_):
        if name == "connect" and arguments[0].family == socket.AF_UNIX:
            return original(*arguments)
        with open({seen!r}, "a") as stream:
            stream.write(f"{{name}}{{arguments}}\\n{{''.join(traceback.format_stack())}}\\n")
        raise socket.gaierror(socket.EAI_NONAME, "blocked by the test")
    original = socket.socket.connect
    return refused
for name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex", "create_connection"):
    setattr(socket, name, refuse(name))
socket.socket.connect = refuse("connect")
"""
"""Read by each Python that starts, before anything else: threads, subprocesses and libraries included."""

LOGGER = "mlflow" if find_spec("mlflow") else "csv"
"""MLflow sends usage data by default."""

RUN_ALL = """
import json, sys, warnings
warnings.simplefilter("ignore")
from anomalib_flows.cli import main
codes = []
for words in json.loads(sys.argv[1]):
    try:
        codes.append(main(words))
    except SystemExit as error:
        codes.append(error.code)
print("\\n" + json.dumps(codes))
"""


def command_lines(tree: Path, folder: Path) -> list[list[str]]:
    """Return a command line of each command and each export format; of commands not known here ``COMMAND RUN``."""
    run, stripes = folder / "results/fastflow/mvtec/stripes/run-001", tree / "stripes"
    data = ["--data=mvtec", f"--data.root={tree}", "--data.category=stripes"]
    xml = folder / "int8/model.xml"
    torch.save({"model_state_dict": peers.gathierry(kernels=(3, 1)).state_dict()}, folder / "99.pt")
    archive = pack(folder / "nut.tar.gz", {"nut/train/good/0.png": image()})
    photos = f"--input={stripes / 'test/blob'}"
    lines = [
        [
            "train",
            *SMALL,
            *data,
            "--trainer.max_epochs=1",
            f"--output={folder / 'results'}",
            f"--trainer.logger={LOGGER}",
        ],
        ["train", "--resume", run, "--trainer.max_epochs=2"],
        ["test", run],
        ["calibrate", run, "--false-alarm-rate=0.5"],
        ["predict", run, photos, f"--output={folder / 'predicted'}"],
        ["export", run, "--precision=int8", f"--output={folder / 'int8'}"],
        ["export", run, "--format=onnx", f"--output={folder / 'onnx'}"],
        ["export", run, "--format=torch", f"--output={folder / 'torch'}"],
        ["predict", xml, photos, f"--output={folder / 'predicted-exported'}"],
        ["test", xml, *data, f"--output={folder / 'tested-exported'}"],
        ["latency", run, "--seconds=0.01"],
        ["latency", xml, "--seconds=0.01"],
        ["import-checkpoint", "--from=gathierry", folder / "99.pt", f"--output={folder / 'imported'}", *data],
        ["data prepare", "mvtec", f"--root={folder / 'prepared'}", f"--archive={archive}"],
        ["data check", *data, f"--output={folder / 'checked'}"],
        ["cache", "show"],
        ["list", "models"],
        ["list", "backbones"],
    ]
    known = {str(line[0]) for line in lines}
    lines += [[name, run] for name in find_commands() if name not in known]
    return [[*str(line[0]).split(), *map(str, line[1:])] for line in lines]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    (folder / "sitecustomize.py").write_text(BLOCKED.format(seen=str(folder / "seen.txt")))
    return folder


SENT_NOTHING = ("CI", "TF_BUILD", "JENKINS_URL", "PYTEST_CURRENT_TEST")


def python(site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    # Without the variables by which these libraries know tests and continuous integration, where they send nothing.
    environment = {k: v for k, v in os.environ.items() if k not in SENT_NOTHING}
    environment |= {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "HOME": str(site / "home")}
    return subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True)


def test_no_command_asks_for_the_network(site: Path, tree: Path, tmp_path: Path) -> None:
    lines = command_lines(tree, tmp_path)
    finished = python(site, "-c", RUN_ALL, json.dumps(lines))
    assert finished.returncode == 0, finished.stderr
    codes = json.loads(finished.stdout.splitlines()[-1])
    failed = [line for line, code in zip(lines, codes, strict=True) if code and line[0] in "train test export predict"]
    assert not failed, finished.stderr
    seen = site / "seen.txt"
    assert not seen.exists(), seen.read_text()


def test_the_test_would_see_it(site: Path) -> None:
    assert python(site, "-c", "import socket; socket.getaddrinfo('example.org', 443)").returncode
    assert "example.org" in (site / "seen.txt").read_text()
