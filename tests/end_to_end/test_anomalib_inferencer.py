"""What anomalib's own inferencer reads of ``export --interface anomalib``."""

from __future__ import annotations

import csv
import os
import subprocess
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from PIL import Image

from anomalib_flows.cli.app import main
from anomalib_flows.data.loading.reading import read_image
from anomalib_flows.models import checkpoint

SCRIPT = Path(__file__).parents[1] / "reference/anomalib_inferencer.py"

pytestmark = [pytest.mark.peer, pytest.mark.filterwarnings("always")]


@pytest.fixture(scope="module")
def photos(tree: Path) -> list[Path]:
    """Drawn images, normal ones and such with a defect."""
    return sorted((tree / "stripes/test").rglob("*.png"))


@pytest.fixture(scope="module")
def found(trained: Path, photos: list[Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """What anomalib's inferencer says, computed in float32 and in what the device chooses."""
    python = os.environ.get("ANOMALIB_FLOWS_PEER")
    if not python:
        pytest.skip("ANOMALIB_FLOWS_PEER names no interpreter that has anomalib")
    folder = tmp_path_factory.mktemp("peer")
    options = ["--interface=anomalib", "--precision=fp32", f"--output={folder / 'model'}"]
    assert main(["export", str(trained), *options]) == 0
    command = [python, SCRIPT, folder / "model/model.xml", folder / "found.npz", *photos]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment)
    assert done.returncode == 0, done.stderr
    with np.load(folder / "found.npz") as arrays:
        return dict(arrays)


def test_in_float32_it_decides_as_predict(found, trained: Path, tree: Path, photos: list[Path], tmp_path: Path) -> None:
    output = tmp_path / "predicted"
    assert main(["predict", str(trained), f"--input={tree / 'stripes/test'}", f"--output={output}"]) == 0
    with (output / "predictions.csv").open(newline="") as stream:
        rows = {row["path"]: row for row in csv.DictReader(stream)}
    assert len(rows) == len(photos)
    pipeline = checkpoint.load_pipeline(trained / "model.safetensors").eval()
    labels, masked = set(), 0
    for i, path in enumerate(photos):
        row, expected, post = rows[str(path)], pipeline(read_image(path)[None]), pipeline.postprocess
        score = post.normalise_scores(expected.scores)
        assert float(row["raw_score"]) == pytest.approx(float(expected.scores), abs=1e-5)
        assert float(row["score"]) == pytest.approx(float(score), abs=1e-5)
        np.testing.assert_allclose(found["f32/pred_score"][i].ravel(), score, atol=1e-4)
        label = bool(found["f32/pred_label"][i].item())
        assert label == (row["label"] == "anomalous")
        maps = post.normalise(expected.maps)[0, 0].numpy()
        np.testing.assert_allclose(found["f32/anomaly_map"][i].squeeze(), maps, atol=1e-4)
        mask = found["f32/pred_mask"][i].squeeze().astype(bool)
        clear = np.abs(maps - 0.5) > 1e-4
        drawn = np.asarray(Image.open(output / "mask" / path.relative_to(tree / "stripes/test"))) > 0
        np.testing.assert_array_equal(mask[clear], expected.masks[0, 0].numpy()[clear])
        assert mask.any() == drawn.any()  # which has the photo's size
        labels.add(label)
        masked += int(mask.sum())
    assert labels == {False, True}
    assert masked > 0


def test_in_what_the_device_chooses_it_comes_close(found) -> None:
    same = "BF16" not in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    tolerance = 1e-4 if same else 0.15
    np.testing.assert_allclose(found["default/pred_score"], found["f32/pred_score"], atol=tolerance)
    apart = np.abs(found["default/anomaly_map"] - found["f32/anomaly_map"])
    assert apart.max() <= 2 * tolerance
    assert apart.mean() <= tolerance / 10
