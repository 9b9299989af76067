"""No letter of a name ends a command: what the console cannot show is escaped."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tiny import SMALL

SEVERAL = """
import sys
from anomalib_flows.cli import main
codes = []
for line in sys.argv[1:]:
    try:
        codes.append(main(line.split("|")))
    except SystemExit as stopped:
        codes.append(stopped.code)
sys.exit(str(codes))
"""
LETTERS, BYTES = "naïve 測試.png", os.fsdecode(b"caf\xe9.png")
CONSOLES = {
    "cp1252": {"PYTHONIOENCODING": "cp1252:strict"},
    "utf-8": {"PYTHONIOENCODING": "utf-8:strict"},
    "C": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
}
pytestmark = pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names there are always UTF-8 or UTF-16")


@pytest.fixture
def photos(tree: Path, tmp_path: Path) -> Path:
    """Good images, and one of the same content in each folder, which is warned of; all in a folder with letters."""
    folder = tmp_path / "größe 測"
    shutil.copytree(tree / "stripes/train/good", folder / "good")
    shutil.copytree(tree / "stripes/test/blob", folder / "bad")
    for name in (LETTERS, BYTES):
        shutil.copy(folder / "bad/0.png", folder / "bad" / name)
        shutil.copy(folder / "good/0.png", folder / "good" / name)
    return folder


def run(console: str, tmp_path: Path, *lines: list[str]) -> tuple[str, str]:
    """Run command lines in a process with a console, and return what it shows; the last line are the exit codes."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "PYTHONIO"))
    }
    environment |= {"XDG_CACHE_HOME": str(tmp_path / "übrig 測"), **CONSOLES[console]}
    command = [sys.executable, "-c", SEVERAL, *("|".join(line) for line in lines)]
    finished = subprocess.run(command, capture_output=True, env=environment)
    shown = finished.stdout.decode("cp1252" if console == "cp1252" else "utf-8"), finished.stderr.decode("latin-1")
    assert "Traceback" not in shown[1]
    return shown


@pytest.mark.parametrize("console", CONSOLES)
def test_commands_end_whatever_names_they_show(console: str, photos: Path, tmp_path: Path) -> None:
    (photos / "good" / "broken 測.png").write_bytes(b"")
    data = ["--data=folder", f"--data.normal={photos / 'good'}", f"--data.abnormal={photos / 'bad'}"]
    out, err = run(
        console,
        tmp_path,
        ["data", "check", *data, f"--output={tmp_path / 'checked 測'}"],
        ["train", *SMALL, *data, f"--output={tmp_path / 'trained'}"],  # stops at the broken file
        ["train", "--model=fastflow", "--data=folder", f"--data.normal={photos / '測' / BYTES}"],
        ["list", "測"],
        ["list", "models", "--filter=測"],
        ["cache"],
    )
    assert err.splitlines()[-1] == "[2, 2, 2, 2, 2, 0]"
    assert "features of images" in out
    assert "caf\\udce9.png" in out
    assert "broken" in err


@pytest.mark.parametrize("console", ["cp1252", "utf-8"])
def test_a_printed_configuration_keeps_its_letters(console: str, photos: Path, tmp_path: Path) -> None:
    options = [
        "--model=fastflow",
        "--data=folder",
        f"--data.normal={photos / BYTES}",
        f"--data.abnormal={photos / '測'}",
    ]
    out, _ = run(console, tmp_path, ["train", *options, "--print_config"])
    data = yaml.safe_load(out)["data"]["init_args"]
    assert (data["normal"], data["abnormal"]) == (str(photos / BYTES), str(photos / "測"))


def test_training_and_predicting_end(photos: Path, tmp_path: Path) -> None:
    trained = tmp_path / "trained 測"
    data = ["--data=folder", f"--data.normal={photos / 'good'}", f"--data.abnormal={photos / 'bad'}"]
    folder = trained / "fastflow/folder/good/run-001"
    out, err = run(
        "cp1252",
        tmp_path,
        ["train", *SMALL, *data, f"--output={trained}", "--trainer.max_epochs=1"],
        ["test", str(folder)],
        ["predict", str(folder), f"--input={photos / 'bad'}", f"--output={tmp_path / 'predicted 測'}"],
    )
    assert err.splitlines()[-1] == "[0, 0, 0]"
    assert "Anomalous: " in out
    for name in (LETTERS, BYTES):
        assert (tmp_path / "predicted 測/heatmap" / name).is_file()
