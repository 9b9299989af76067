"""The example in C++, built against the package ``openvino`` as pip installs it."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from openvino.utils import get_cmake_path
from PIL import Image

from anomalib_flows.runtime import ExportedModel
from tiny_export import write

SOURCE = Path(__file__).parents[2] / "docs/examples/cpp"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (shutil.which("cmake") and shutil.which("c++")), reason="needs cmake and a C++ compiler"),
]


@pytest.fixture(scope="module")
def predict(tmp_path_factory: pytest.TempPathFactory) -> Path:
    build = tmp_path_factory.mktemp("build")
    subprocess.run(["cmake", "-S", SOURCE, "-B", build, f"-DOpenVINO_DIR={get_cmake_path()}"], check=True)
    subprocess.run(["cmake", "--build", build], check=True)
    return build / "predict"


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("channels", ["RGB", "BGR"])
@pytest.mark.parametrize("top", [60, 256])
def test_results_equal_those_of_python(predict: Path, tmp_path: Path, layout: str, channels: str, top: int) -> None:
    model = write(tmp_path / "model.xml", input_layout=layout, channels=channels)
    image = np.random.default_rng(0).integers(0, top, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(image).save(tmp_path / "photo.ppm")
    done = subprocess.run([predict, model, tmp_path / "photo.ppm"], capture_output=True, text=True, check=True)
    found, expected = dict(line.split(maxsplit=1) for line in done.stdout.splitlines()), ExportedModel(model)(image)
    assert float(found["raw_score"]) == pytest.approx(expected.raw_score, abs=1e-6)
    assert float(found["score"]) == pytest.approx(expected.score, abs=1e-6)
    assert int(found["label"]) == expected.label
    assert found["marked"] == f"{expected.mask.sum()} of {expected.mask.size} pixels"


def test_invalid_photos_are_named(predict: Path, tmp_path: Path) -> None:
    model = write(tmp_path / "model.xml")
    (tmp_path / "cut.ppm").write_bytes(b"P6 30 20 255\n123")
    for photo, words in {"cut.ppm": "cut.ppm is cut off", "none.ppm": "none.ppm is not a binary PPM"}.items():
        done = subprocess.run([predict, model, tmp_path / photo], capture_output=True, text=True)
        assert (done.returncode, words in done.stderr) == (1, True)
