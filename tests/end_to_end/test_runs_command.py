"""Runs by name, their list, and what each command says first and last."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tiny import SMALL, draw

from anomalib_flows.cli import main

pytestmark = pytest.mark.filterwarnings("always")  # the command line prints them


@pytest.fixture
def options(tree: Path, tmp_path: Path) -> list[str]:
    data = ["--data=mvtec", f"--data.root={tree}", "--data.category=stripes", f"--output={tmp_path}"]
    return ["train", *SMALL, *data, "--trainer.max_epochs=1", "--pictures=0"]


def next_words(printed: str) -> list[str]:
    """The words of the last line, which is the next command to type."""
    last = printed.rstrip().splitlines()[-1]
    assert last.startswith("Next: anomalib-flows ")
    return shlex.split(last.removeprefix("Next: anomalib-flows "))


def test_a_name_is_that_of_the_run_and_is_kept_from_others(options, tmp_path: Path, capsys) -> None:
    assert main([*options, "--name", "no stretch"]) == 0
    run = tmp_path / "fastflow/mvtec/stripes/no stretch"
    assert "name" not in yaml.safe_load((run / "config.yaml").read_text())
    before = {file: file.stat().st_mtime_ns for file in run.rglob("*")}
    capsys.readouterr()
    assert main([*options, "--name", "no stretch"]) == 2
    assert f"--name no stretch is taken, as {run} exists" in capsys.readouterr().err
    assert main(["train", "--resume", str(run), "--name", "other"]) == 2
    assert "--name is that of a new run, and --resume continues a run" in capsys.readouterr().err
    assert main([*options, "--name", "a/b"]) == 2
    assert "--name cannot be 'a/b'" in capsys.readouterr().err
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")}.items() >= before.items()
    assert [folder.name for folder in run.parent.iterdir()] == ["no stretch"]


def test_decisions_come_first_and_the_next_commands_can_be_typed(options, tree: Path, tmp_path: Path, capsys) -> None:
    assert main([*options, "--name", "my run"]) == 0
    printed = capsys.readouterr().out
    results = printed.partition("6 test.")[2].split("\n")
    first = [line for line in results if line and not line.startswith("Figures")]
    assert first[0].startswith("False alarms: ")
    assert "image AUROC" not in printed.partition("\nMissed: ")[0]
    assert "1 held-out good image set the threshold, so 50 % is promised and not 1 %" in printed
    command = next_words(printed)
    assert command[:2] == ["predict", str(tmp_path / "fastflow/mvtec/stripes/my run")]
    places = {"PHOTOS": str(tree / "stripes/test/blob"), "predicted": str(tmp_path / "new photos")}
    assert main([places.get(word, word) for word in command]) == 0
    report = tmp_path / "new photos/report.html"
    assert capsys.readouterr().out.rstrip().endswith(f"Next: open {report} in a browser.")
    assert report.is_file()


def test_a_calibration_is_followed_by_a_test_that_names_wrong_images(trained: Path, tmp_path: Path, capsys) -> None:
    run = shutil.copytree(trained, tmp_path / "run")
    (tmp_path / "not normal").mkdir()
    for i in range(12):
        draw(300 + i, blob=True)[0].save(tmp_path / f"not normal/{i}.png")
    assert main(["calibrate", str(run), "--images", str(tmp_path / "not normal")]) == 0
    command = next_words(capsys.readouterr().out)
    assert command == ["test", str(run)]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert printed.strip().startswith("False alarms: 0 of 3 good images")
    missed = int(re.search(r"^Missed: (\d) of 3", printed, re.MULTILINE)[1])
    assert missed > 0
    named = printed.partition("Missed, lowest scores first (threshold 0.5):\n")[2].partition("\n\n")[0].splitlines()
    assert len(named) == missed
    assert all(re.fullmatch(r"  0\.[0-4]\d\d  blob  /.*/test/blob/\d.png", line) for line in named)
    assert named == sorted(named)
    assert next_words(printed) == ["export", str(run)]


def test_runs_are_listed_and_compared_without_torch(trained: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    for name in ("a", "b"):
        shutil.copytree(trained, results / "fastflow/mvtec/stripes" / name)
    config = yaml.safe_load((trained / "config.yaml").read_text())
    (results / "fastflow/mvtec/stripes/b/config.yaml").write_text(yaml.safe_dump(config | {"seed": 7}))
    (results / "fastflow/mvtec/stripes/a/metrics.json").write_text("{")
    script = (
        "import sys; from anomalib_flows.cli import main; code = main(['runs', '--compare']);"
        "assert not {'torch', 'lightning', 'pydantic', 'scipy'} & set(sys.modules); sys.exit(code)"
    )
    finished = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    lines = finished.stdout.splitlines()
    assert [line.split()[1] for line in lines if re.match(r"[12] ", line)] == [
        f"fastflow/mvtec/stripes/{n}" for n in "ba"
    ]
    assert "damaged: metrics.json" in finished.stdout
    assert re.search(r"^seed +7 +0$", finished.stdout, re.MULTILINE)
    assert finished.stderr == ""
