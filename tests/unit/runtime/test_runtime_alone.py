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

HEAVY = ["jsonargparse", "kornia", "lightning", "scipy", "timm", "torch", "tqdm"]
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


def test_runtime_works_where_nothing_else_is_installed(export, photo, tmp_path):
    """A fresh environment sees openvino, numpy and Pillow, with the libraries of their wheels, and this package."""
    venv.create(tmp_path / "venv", with_pip=False, symlinks=True)
    (site,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    for name in TAKEN:
        package = Path(importlib.util.find_spec(name).origin).parent
        (site / name).symlink_to(package)
    for libraries in package.parent.glob("*.libs"):
        if libraries.stem in ("numpy", "pillow"):
            (site / libraries.name).symlink_to(libraries)
    (site / "anomalib_flows").symlink_to(Path(anomalib_flows.__file__).parent)
    assert predicted(tmp_path / "venv/bin/python", export(), photo) == str(ExportedModel(export())(photo).raw_score)


def test_missing_openvino_is_reported():
    code = (
        "import sys; sys.modules['openvino'] = None\n"
        "from anomalib_flows.core.errors import InputError\n"
        "try:\n    import anomalib_flows.runtime\nexcept InputError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "run pip install 'anomalib-flows[openvino]'" in done.stdout
