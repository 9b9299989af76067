"""Scales, constants and thresholds are fitted with the features of prediction."""

from dataclasses import replace

import pytest
import torch

from anomalib_flows import CFlow
from anomalib_flows.core.store import cache_folder
from anomalib_flows.inference import fitting
from anomalib_flows.inference.feature_cache import COMPUTED, FeatureOptions
from anomalib_flows.inference.features import FeatureLoader
from anomalib_flows.inference.fitting import calibrate_pipeline, conformal_threshold, fit_constants, fit_local_scale
from anomalib_flows.inference.runner import PipelineRunner
from anomalib_flows.models.pipeline import Pipeline


@pytest.fixture
def encoded(monkeypatch) -> list[int]:
    """How many images were encoded, call by call."""
    counts: list[int] = []
    encode = FeatureLoader._encode
    monkeypatch.setattr(FeatureLoader, "_encode", lambda self, b: counts.append(len(b.samples)) or encode(self, b))
    return counts


@pytest.mark.parametrize("resize", ["stretch", "pad"])
def test_thresholds_are_those_of_the_predicted_scores(make_runner, normal, resize) -> None:
    runner = make_runner(resize)
    postprocess = runner.pipeline.postprocess
    scores = torch.tensor([result.raw_score for result in runner.predict(normal)])
    torch.testing.assert_close(postprocess.calibration_scores, scores.sort().values, rtol=1e-5, atol=0)
    torch.testing.assert_close(postprocess.image_threshold, conformal_threshold(scores, 0.4), rtol=1e-5, atol=0)
    maxima = torch.tensor([result.raw_map.max() for result in runner.predict(normal)])
    torch.testing.assert_close(postprocess.calibration_maxima, maxima.sort().values, rtol=1e-5, atol=0)
    expected = (postprocess.image_threshold, postprocess.pixel_threshold, postprocess.typical_score)
    assert runner.thresholds == tuple(map(float, expected))


def test_calibration_ignores_how_features_are_rounded_for_training(make_runner, normal) -> None:
    runner = make_runner()
    exact = runner.pipeline.postprocess.calibration_scores
    rounding = replace(runner, features=FeatureOptions(torch.bfloat16, dtype=torch.bfloat16))
    calibrate_pipeline(rounding, normal, 0.4)
    assert torch.equal(runner.pipeline.postprocess.calibration_scores, exact)
    assert rounding.exact.features == COMPUTED


def test_calibration_ends_the_protocol_of_papers(make_runner, normal) -> None:
    runner = make_runner()
    runner.pipeline.protocol = "paper"
    calibrate_pipeline(runner, normal, 0.4)
    assert runner.pipeline.protocol == "calibrated"


def test_the_local_scale_is_fitted_to_some_images_evenly_spaced(make_runner, normal, monkeypatch) -> None:
    runner, asked = make_runner(), []
    encode = PipelineRunner.encode

    def recorded(self, samples, title):
        asked.extend(samples)
        return encode(self, samples, title)

    monkeypatch.setattr(PipelineRunner, "encode", recorded)
    monkeypatch.setattr(fitting, "LOCAL_SCALE_IMAGES", 3)
    fit_local_scale(runner, normal)
    assert asked == normal[::2]
    asked.clear()
    fit_local_scale(runner, normal[:2])
    assert asked == normal[:2]


def test_a_model_without_constants_encodes_nothing_for_them(make_runner, normal, encoded) -> None:
    runner = make_runner()
    encoded.clear()
    fit_constants(runner, normal)
    assert encoded == []


def test_a_model_with_constants_sets_them_from_all_images(make_runner, normal, encoded) -> None:
    torch.manual_seed(0)
    detector = CFlow((32, 48), "test_efficientnet", weights="random", layers=[1], steps=1)
    runner = replace(make_runner(), pipeline=Pipeline(detector))
    before = {name: tensor.clone() for name, tensor in detector.state_dict().items()}
    encoded.clear()
    fit_constants(runner, normal)
    assert sum(encoded) >= len(normal)
    changed = [name for name, tensor in detector.state_dict().items() if not torch.equal(tensor, before[name])]
    assert changed


def test_kept_features_are_used_again(make_runner, normal, encoded) -> None:
    runner = replace(make_runner(), features=FeatureOptions(limit=10**9))
    exact = runner.pipeline.postprocess.calibration_scores
    encoded.clear()
    calibrate_pipeline(runner, normal, 0.4)
    calibrate_pipeline(runner, normal, 0.4)
    assert sum(encoded) == len(normal)
    assert len(list(cache_folder("features").iterdir())) == len(normal)
    torch.testing.assert_close(runner.pipeline.postprocess.calibration_scores, exact, rtol=1e-5, atol=0)
