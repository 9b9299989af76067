"""Smoothing as SciPy does it, scores as sorting gives them, and both as part of what is deployed."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from scipy.ndimage import gaussian_filter
from torch import Tensor

from anomalib_flows.core.errors import InputError
from anomalib_flows.inference.fitting import calibrate_postprocess
from anomalib_flows.models import checkpoint
from anomalib_flows.models.fastflow import FastFlow
from anomalib_flows.models.pipeline import Pipeline
from anomalib_flows.models.postprocess import image_scores, smooth
from anomalib_flows.run.options import HeatmapOptions

SIZE = (64, 96)


def maps(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("sigma", [0.1, 0.65, 1.0, 1.9, 2.5, 9.0])
@pytest.mark.parametrize("size", [(20, 31), (7, 5), (1, 12)], ids=str)
def test_smoothing_is_scipys(sigma, size) -> None:
    given_maps = maps(3, 1, *size)
    expected = [gaussian_filter(m[0].numpy(), sigma, mode="nearest", truncate=4) for m in given_maps]
    found = smooth(given_maps, sigma)
    torch.testing.assert_close(found[:, 0], torch.from_numpy(np.stack(expected)), rtol=1e-10, atol=1e-10)
    in_float32 = smooth(given_maps.float(), sigma)
    assert in_float32.dtype == torch.float32
    torch.testing.assert_close(in_float32.double(), found, rtol=1e-5, atol=1e-5)


def test_no_smoothing_leaves_maps_as_they_are() -> None:
    given_maps = maps(2, 1, 4, 5)
    assert smooth(given_maps, 0) is given_maps


@given(
    st.integers(1, 3),
    st.integers(1, 40),
    st.integers(1, 9),
    st.floats(0, 100, exclude_min=True),
    st.integers(0, 999),
)
@settings(max_examples=100, deadline=None, derandomize=True, database=None)
def test_the_score_is_the_mean_of_the_highest_values(batch, height, width, percent, seed) -> None:
    values = torch.randn(batch, 1, height, width, generator=torch.Generator().manual_seed(seed)).round(decimals=1)
    count = max(1, math.floor(height * width * percent / 100))
    highest = np.sort(values.numpy().reshape(batch, -1), axis=1)[:, -count:]
    torch.testing.assert_close(image_scores(values, percent), torch.from_numpy(highest.mean(1)), rtol=1e-5, atol=1e-5)


def test_the_score_lies_between_mean_and_maximum() -> None:
    values = maps(4, 1, 30, 20)
    assert torch.equal(image_scores(values, 0), values.amax((1, 2, 3)))
    torch.testing.assert_close(image_scores(values, 100), values.mean((1, 2, 3)))
    scores = torch.stack([image_scores(values, percent) for percent in (0, 0.1, 1, 5, 50, 100)])
    assert bool((scores.diff(dim=0) <= 1e-12).all())
    assert bool((scores[0] > scores[2]).all())


@pytest.mark.parametrize("percent", [0, 0.1, 5, 100])
def test_a_map_with_a_value_that_is_no_number_has_no_score(percent) -> None:
    values = maps(2, 1, 10, 10)
    values[0, 0, 3, 4] = math.nan
    assert image_scores(values, percent).isnan().tolist() == [True, False]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("smoothing", -0.5),
        ("smoothing", math.nan),
        ("top_percent", -1),
        ("top_percent", 100.5),
        ("top_percent", math.nan),
    ],
)
def test_invalid_numbers_are_refused(option, value) -> None:
    with pytest.raises(InputError, match=rf"`heatmap.{option}` cannot be {value}: it must be "):
        HeatmapOptions(**{option: value})


def test_by_default_maps_stay_and_half_a_percent_of_the_pixels_make_the_score() -> None:
    assert HeatmapOptions() == HeatmapOptions(smoothing=0, top_percent=0.5)
    HeatmapOptions(smoothing=40, top_percent=100)


@pytest.fixture
def make_pipeline(disturb) -> Callable[..., Pipeline]:
    """Make a calibrated pipeline; its model is the same at every call."""

    def make(*options: HeatmapOptions) -> Pipeline:
        torch.manual_seed(0)
        model = FastFlow(SIZE, "test_resnet", weights="random", steps=1)
        pipeline = Pipeline(disturb(model, scale=0.02), "stretch", *options).eval()
        with torch.no_grad():
            calibrate_postprocess(
                pipeline.postprocess, pipeline.maps(pipeline.preprocess.resize(images(9, seed=1))), 0.1
            )
        return pipeline

    return make


def images(count: int, seed: int = 0) -> Tensor:
    return torch.randint(256, (count, 3, 80, 70), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def test_a_pipeline_smooths_maps_and_scores_what_is_smooth(make_pipeline) -> None:
    rough, pipeline = make_pipeline(), make_pipeline(HeatmapOptions(smoothing=3.0, top_percent=5.0))
    prediction = pipeline(images(3))
    expected = [gaussian_filter(m[0].numpy(), 3.0, mode="nearest", truncate=4) for m in rough(images(3)).maps]
    torch.testing.assert_close(prediction.maps[:, 0], torch.from_numpy(np.stack(expected)), rtol=1e-4, atol=1e-5)
    highest = prediction.maps[:, -1].flatten(1).sort(descending=True).values[:, : int(0.05 * SIZE[0] * SIZE[1])]
    torch.testing.assert_close(prediction.scores, highest.mean(1))


def test_calibration_scores_are_scores_of_the_same_kind(make_pipeline) -> None:
    pipeline = make_pipeline(HeatmapOptions(smoothing=2.0, top_percent=10.0))
    scores = pipeline(images(9, seed=1)).scores
    torch.testing.assert_close(pipeline.postprocess.calibration_scores, scores.sort().values)
    assert float(pipeline.postprocess.image_threshold) == pytest.approx(float(scores.max()))


def test_options_are_saved_with_the_model(tmp_path, make_pipeline) -> None:
    options = HeatmapOptions(smoothing=2.5, top_percent=3.0)
    pipeline, file = make_pipeline(options), tmp_path / "model.safetensors"
    checkpoint.save_pipeline(pipeline, file)
    assert description(file)["heatmap"] == {"smoothing": 2.5, "top_percent": 3.0}
    loaded = checkpoint.load_pipeline(file)
    assert loaded.heatmap == options
    before, after = pipeline(images(3)), loaded(images(3))
    assert torch.equal(after.maps, before.maps)
    assert torch.equal(after.scores, before.scores)
    assert not torch.equal(after.scores, make_pipeline()(images(3)).scores)
    assert torch.equal(after.labels, before.labels)


def description(file: Path) -> dict[str, object]:
    with safe_open(file, framework="pt") as opened:
        found: dict[str, object] = json.loads(opened.metadata()["anomalib_flows"])
        return found
