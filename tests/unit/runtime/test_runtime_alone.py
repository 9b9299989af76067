"""The runtime needs OpenVINO, numpy and Pillow only."""

import importlib.util
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import anomalib_flows
from anomalib_flows.runtime import ExportedModel

HEAVY = ["jinja2", "jsonargparse", "kornia", "lightning", "pydantic", "scipy", "timm", "torch", "tqdm", "yaml"]
TAKEN = ["PIL", "numpy", "openvino"]
PREDICT = """
import sys
for name in sys.argv[3].split():
    try:
        __import__(name)
    except ImportError:
        continue
    sys.exit(f"{name} is there")
from anomalib_flows.runtime import ExportedModel, frames
for name, image in frames(sys.argv[2]):
    print(ExportedModel(sys.argv[1])(image).raw_score)
"""


@pytest.fixture
def photo(tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(tmp_path / "1.png")
    return tmp_path / "1.png"


def predicted(python: Path | str, model: Path, photo: Path, code: str = PREDICT) -> str:
    command = [python, "-c", code, model, photo, " ".join(HEAVY)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_runtime_imports_nothing_heavy(export, photo):
    blocked = "import sys; sys.modules.update(dict.fromkeys(sys.argv[3].split()))" + PREDICT
    assert predicted(sys.executable, export(), photo, blocked) == str(ExportedModel(export())(photo).raw_score)


@pytest.fixture
def alone(tmp_path) -> Path:
    """A fresh environment's Python, with openvino, numpy and Pillow, their wheels' libraries, and this package."""
    venv.create(tmp_path / "venv", with_pip=False, symlinks=True)
    (site,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    for name in TAKEN:
        package = Path(importlib.util.find_spec(name).origin).parent
        (site / name).symlink_to(package)
    for libraries in package.parent.glob("*.libs"):
        if libraries.stem in ("numpy", "pillow"):
            (site / libraries.name).symlink_to(libraries)
    (site / "anomalib_flows").symlink_to(Path(anomalib_flows.__file__).parent)
    return tmp_path / "venv/bin/python"


def test_runtime_works_where_nothing_else_is_installed(alone, export, photo):
    assert predicted(alone, export(), photo) == str(ExportedModel(export())(photo).raw_score)


def test_the_command_works_where_nothing_else_is_installed(alone, export, photo, tmp_path):
    (photo.parent / "damaged.png").write_bytes(photo.read_bytes()[:60])
    command = [alone, "-c", "import sys; from anomalib_flows.cli.runtime import main; sys.exit(main())", export()]
    given, out = ["--input", f"{tmp_path}/*.png", "--output", tmp_path / "out"], tmp_path / "out"
    failed = subprocess.run([*command, *given], capture_output=True, text=True)
    assert (failed.returncode, failed.stderr.count("\n")) == (2, 1)
    assert "damaged.png is damaged" in failed.stderr
    assert "to go on, repeat the command with --resume" in failed.stdout
    done = subprocess.run([*command, *given, "--resume", "--on-error=skip"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(path.name for path in out.iterdir()) == ["heatmap", "mask", "overlay", "predictions.csv"]
    other = [alone, "-m", "anomalib_flows.cli", "predict", *command[3:], *given]
    without = subprocess.run(other, capture_output=True, text=True)
    assert without.returncode == 2
    assert "anomalib-flows-runtime predicts without" in without.stderr


def test_missing_openvino_is_reported():
    code = (
        "import sys; sys.modules['openvino'] = None\n"
        "from anomalib_flows.core.errors import InputError\n"
        "try:\n    import anomalib_flows.runtime\nexcept InputError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "run pip install openvino." in done.stdout
