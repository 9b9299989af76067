"""An exported model predicts samples in their order, each file decoded once, and frames of a video."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("openvino")

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.types import Sample
from anomalib_flows.inference.exported import ExportedPredictor
from anomalib_flows.results.sinks import MetricsSink, drain
from anomalib_flows.run.options import LoaderOptions
from anomalib_flows.runtime import ExportedModel, frames
from damaged_video import write_damaged_video
from tiny_export import CARD, write


def make_predictor(folder: Path, size: tuple[int, int] = (-1, -1), **loader: object) -> ExportedPredictor:
    model = write(folder / "model.xml", size=size)
    return ExportedPredictor(model, LoaderOptions(**{"batch_size": 2, "workers": 2} | loader), "CPU")


def test_results_are_those_of_the_model_with_what_is_known(tmp_path: Path, samples: list[Sample]) -> None:
    predictor, model = make_predictor(tmp_path), ExportedModel(tmp_path / "model.xml")
    results = list(predictor.predict(samples))
    assert [result.sample for result in results] == samples
    for sample, result in zip(samples, results, strict=True):
        expected = model(sample.path)
        assert (result.score, result.label, result.p_value) == (expected.score, expected.label, expected.p_value)
        assert np.array_equal(result.anomaly_map, expected.anomaly_map)
        assert np.array_equal(result.picture, expected.picture)
        assert result.ground_truth.shape == result.mask.shape
        assert result.ground_truth.mean() == pytest.approx(0.5 * 2 / 3 if sample.label else 0, abs=0.05)
    assert predictor.thresholds == (CARD.image_threshold, 0.5, CARD.score_typical)


def test_each_file_is_decoded_once(tmp_path: Path, samples: list[Sample], decoded: Counter[Path]) -> None:
    drain(make_predictor(tmp_path).predict(samples), [MetricsSink()])
    assert decoded == Counter([s.path for s in samples] + [s.mask for s in samples if s.mask])


def test_unknown_and_empty_masks_are_no_ground_truth(tmp_path: Path, samples: list[Sample]) -> None:
    Image.new("L", Image.open(samples[3].mask).size).save(samples[3].mask)
    known = [replace(samples[1], mask=None), samples[3], samples[5]]
    with pytest.warns(UserWarning, match="1 masks of defective images are empty"):
        unknown, empty, marked = make_predictor(tmp_path).predict(known)
    assert unknown.ground_truth is None
    assert empty.ground_truth is None
    assert marked.ground_truth.any()


def test_a_file_that_cannot_be_read_stops_after_the_results_before(tmp_path: Path, samples: list[Sample]) -> None:
    samples[4].path.write_bytes(b"")
    seen = []
    with pytest.raises(InputError, match="4.png is empty .*`loader.on_error` skip"):
        seen.extend(make_predictor(tmp_path).predict(samples))
    (tmp_path / "other").mkdir()
    results, seen = make_predictor(tmp_path / "other", batch_size=1).predict(samples), []
    with pytest.raises(InputError, match="4.png is empty"):  # noqa: PT012 (what was seen before counts)
        for result in results:
            seen.append(result.sample)
    assert seen == samples[:4]


def test_files_and_sizes_that_do_not_fit_are_skipped_if_asked_for(tmp_path: Path, samples: list[Sample]) -> None:
    samples[4].path.write_bytes(b"")
    predictor = make_predictor(tmp_path, size=(40, 50), on_error="skip")
    with pytest.warns(UserWarning, match=r"left out \(6\)"):
        results = list(predictor.predict(samples))
    assert [result.sample for result in results] == samples[:1]


def test_a_size_that_the_model_does_not_take_stops(tmp_path: Path, samples: list[Sample]) -> None:
    with pytest.raises(InputError, match="1.png.*`loader.on_error` skip"):
        list(make_predictor(tmp_path, size=(40, 50)).predict(samples))


@pytest.mark.filterwarnings("ignore:Images that are left out")
def test_frames_of_a_video_are_named(tmp_path: Path) -> None:
    video = write_damaged_video(tmp_path / "line.avi")
    expected = list(frames(video, lambda fault: None))
    results = list(make_predictor(tmp_path, on_error="skip").predict_video(video))
    assert [str(result.sample.path) for result in results] == [name for name, _ in expected]
    assert results[0].sample.path.name == "line-000001"
    for result, (_, pixels) in zip(results, expected, strict=True):
        assert np.array_equal(result.picture, pixels)
        assert result.ground_truth is None
