"""A small trained pipeline, and images to predict."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from anomalib_flows import FastFlow
from anomalib_flows.core import images
from anomalib_flows.core.types import ResizeMode, Sample
from anomalib_flows.data.loading import reading
from anomalib_flows.inference.fitting import calibrate_pipeline, fit_local_scale, fit_statistics
from anomalib_flows.inference.runner import PipelineRunner
from anomalib_flows.models.pipeline import Pipeline
from anomalib_flows.run.options import LoaderOptions

CPU = torch.device("cpu")
SIZE = (32, 48)
SHAPES = [(40, 50), (33, 80), (64, 96), (90, 31), (32, 48), (47, 47), (20, 30)]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


@pytest.fixture
def normal(tmp_path: Path) -> list[Sample]:
    """Normal images to fit and calibrate with."""
    paths = [save(tmp_path / f"good/{i}.png", noise(100 + i, 40, 60, 3)) for i in range(6)]
    return [Sample(path, "calibration") for path in paths]


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    """Test images of several sizes: normal ones, and defective ones with masks."""
    made = []
    for i, shape in enumerate(SHAPES):
        path, mask = save(tmp_path / f"test/{i}.png", noise(i, *shape, 3)), None
        if i % 2:
            marked = np.zeros(shape, np.uint8)
            marked[: shape[0] // 2, shape[1] // 3 :] = 255
            mask = save(tmp_path / f"masks/{i}.png", marked)
        made.append(Sample(path, "test", i % 2, "cut" if i % 2 else "good", mask))
    return made


@pytest.fixture
def make_runner(normal: list[Sample]) -> Callable[..., PipelineRunner]:
    """A runner of a calibrated pipeline, with some options of its loader replaced."""

    def make(resize: ResizeMode = "stretch", **loader: object) -> PipelineRunner:
        torch.manual_seed(0)
        pipeline = Pipeline(FastFlow(SIZE, "test_efficientnet", weights="random", strides=(8, 16), steps=1), resize)
        runner = PipelineRunner(pipeline, CPU, LoaderOptions(**{"batch_size": 3, "workers": 2} | loader))
        fit_statistics(runner, normal)
        fit_local_scale(runner, normal)
        calibrate_pipeline(runner, normal, 0.4)
        return runner

    return make


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Counter[Path]:
    """How often each file was decoded."""
    counts: Counter[Path] = Counter()

    original = images.decode

    def decode(path: Path, *limit: float) -> Image.Image:
        counts[path] += 1
        return original(path, *limit)

    for module in (images, reading):
        monkeypatch.setattr(module, "decode", decode)
    return counts
