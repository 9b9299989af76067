"""A runner decodes each file once, and its results are those of the pipeline for each image by itself."""

import gc
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.images import read_pixels
from anomalib_flows.core.types import Batch, ImageResult, Sample, content_size
from anomalib_flows.data.loading import reading
from anomalib_flows.data.loading.loader import AHEAD
from anomalib_flows.inference.runner import PipelineRunner, choose_device, choose_precision
from anomalib_flows.results.drawing import drawing
from anomalib_flows.results.pictures import FigureSink, PictureSink, name_figures
from anomalib_flows.results.sinks import LabelCounter, MetricsSink, drain
from anomalib_flows.results.table import open_table
from anomalib_flows.results.thumbnails import open_thumbnails

Make = Callable[..., PipelineRunner]


@contextmanager
def all_sinks(folder: Path, samples: list[Sample]) -> Iterator[list]:
    names = name_figures(samples, Path("/synthetic"), len(samples))
    with (
        open_table(folder / "predictions.csv", labelled=True) as table,
        drawing() as threads,
        open_thumbnails(folder / "thumbnails.jsonl", threads, labelled=True) as thumbnails,
    ):
        yield [
            *(MetricsSink(), table, LabelCounter(), FigureSink(threads, folder / "figures", names), thumbnails),
            PictureSink(threads, folder, lambda result: Path(result.sample.path.name)),
        ]


def test_each_file_is_decoded_once_whatever_is_done_with_the_results(
    make_runner: Make, samples: list[Sample], decoded: Counter[Path], tmp_path: Path
) -> None:
    runner = make_runner()
    decoded.clear()
    with all_sinks(tmp_path / "results", samples) as sinks:
        drain(runner.predict(samples), sinks)
    files = [sample.path for sample in samples] + [sample.mask for sample in samples if sample.mask]
    assert decoded == Counter(files)
    assert len(list((tmp_path / "results").rglob("*.jpg"))) == len(samples)


@pytest.mark.parametrize("options", [{"workers": 0}, {"workers": 3}, {"batch_size": 1}, {"batch_size": 100}])
def test_results_come_in_the_order_of_the_samples(make_runner: Make, samples: list[Sample], options: dict) -> None:
    shuffled = [samples[i] for i in (3, 0, 6, 5, 1, 4, 2)]
    assert [result.sample for result in make_runner(**options).predict(shuffled)] == shuffled


@pytest.mark.parametrize("resize", ["stretch", "pad"])
@pytest.mark.parametrize("batch_size", [1, 3, 7])
def test_results_are_those_of_the_pipeline_one_by_one(
    make_runner: Make, samples: list[Sample], resize: str, batch_size: int
) -> None:
    runner = make_runner(resize, batch_size=batch_size)
    pipeline, postprocess = runner.pipeline.eval(), runner.pipeline.postprocess
    for sample, result in zip(samples, runner.predict(samples), strict=True):
        pixels = read_pixels(sample.path)
        expected = pipeline(torch.from_numpy(pixels).permute(2, 0, 1)[None])
        score = float(expected.scores)
        assert result.raw_score == pytest.approx(score, rel=1e-5)
        assert result.score == pytest.approx(float(postprocess.normalise_scores(expected.scores)), abs=1e-4)
        assert result.p_value == float(expected.p_values)
        assert result.label == int(expected.labels)
        height, width = content_size(*pixels.shape[:2], (32, 48), resize)
        shown = expected.maps[0, 0, :height, :width].numpy()
        np.testing.assert_allclose(result.raw_map, shown, rtol=1e-4, atol=2e-7)  # maps cross 0
        differs = result.mask != expected.masks[0, 0, :height, :width].numpy()
        assert np.abs(shown - runner.thresholds.pixel)[differs].max(initial=0) < 1e-4 * abs(runner.thresholds.pixel)
        assert np.array_equal(result.picture, pixels)


def test_padding_is_cropped_from_maps_masks_and_ground_truth(make_runner: Make, samples: list[Sample]) -> None:
    for sample, result in zip(samples, make_runner("pad").predict(samples), strict=True):
        size = content_size(*result.picture.shape[:2], (32, 48), "pad")
        shapes = {x.shape for x in (result.anomaly_map, result.raw_map, result.mask, result.ground_truth)}
        assert shapes == {size}
        expected = 0.5 * 2 / 3 if sample.label else 0
        assert result.ground_truth.mean() == pytest.approx(expected, abs=0.05)


def test_ground_truth_is_false_of_normal_images_and_unknown_without_a_mask(
    make_runner: Make, samples: list[Sample]
) -> None:
    known = [samples[0], samples[1], replace(samples[3], mask=None)]
    good, cut, unknown = make_runner().predict(known)
    assert good.ground_truth.shape == good.mask.shape
    assert not good.ground_truth.any()
    assert cut.ground_truth.any()
    assert unknown.ground_truth is None


def test_an_empty_mask_of_a_defective_image_counts_as_no_mask(make_runner: Make, samples: list[Sample]) -> None:
    Image.new("L", Image.open(samples[1].mask).size).save(samples[1].mask)
    runner = make_runner()
    with pytest.warns(UserWarning, match="1 masks of defective images are empty"):
        results = list(runner.predict(samples))
    assert results[1].ground_truth is None
    assert results[1].sample == replace(samples[1], mask=None)
    assert results[3].ground_truth.any()


def test_a_file_that_cannot_be_read_stops(make_runner: Make, samples: list[Sample]) -> None:
    samples[4].path.write_bytes(b"")
    seen: list[ImageResult] = []
    with pytest.raises(InputError, match=r"4.png is empty .*, or skip it with `loader.on_error` skip"):
        seen.extend(make_runner().predict(samples))


def test_a_file_that_cannot_be_read_is_skipped_if_asked_for(make_runner: Make, samples: list[Sample]) -> None:
    samples[4].path.write_bytes(b"")
    samples[5].mask.write_bytes(b"no image")
    runner = make_runner(on_error="skip")
    with pytest.warns(UserWarning, match=r"(?s)left out \(2\):.*4.png is empty.*5.png is not an image"):
        results = list(runner.predict(samples))
    assert [result.sample for result in results] == [*samples[:4], samples[6]]


def test_files_that_cannot_be_read_at_all_are_an_error(make_runner: Make, samples: list[Sample]) -> None:
    for sample in samples:
        sample.path.write_bytes(b"")
    runner = make_runner(on_error="skip")
    with pytest.warns(UserWarning, match="left out"), pytest.raises(InputError, match="None of 7 images can be read"):
        list(runner.predict(samples))


def test_batches_may_be_altered_first(make_runner: Make, samples: list[Sample]) -> None:
    def darken(batch: Batch) -> Batch:
        return replace(batch, images=batch.images * 0, pictures=[picture * 0 for picture in batch.pictures])

    altered = list(make_runner().predict(samples, darken))
    first = altered[0].raw_score
    assert [result.raw_score for result in altered] == pytest.approx([first] * len(samples), rel=1e-4)
    assert all(not result.picture.any() for result in altered)


@pytest.mark.parametrize("training", [True, False])
def test_the_pipeline_can_be_trained_afterwards(make_runner: Make, samples: list[Sample], training: bool) -> None:
    runner = make_runner()
    detector = runner.pipeline.detector.train(training)
    list(runner.predict(samples))
    assert detector.training == training
    (batch, *_) = runner.encode(samples, "Encoding")
    detector.loss(next(iter(detector.training_batches(batch.features)))).backward()
    assert any(p.grad is not None and p.grad.any() for p in detector.parameters())


def test_no_more_images_are_in_memory_than_are_worked_on(
    make_runner: Make, samples: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels: list[weakref.ref[np.ndarray]] = []
    alive: list[int] = []

    def watched(path: Path, *limit: float) -> np.ndarray:
        array = read_pixels(path, *limit)
        pixels.append(weakref.ref(array))
        return array

    monkeypatch.setattr(reading, "read_pixels", watched)
    many, runner = [samples[i % 7] for i in range(70)], make_runner(batch_size=2)
    pixels.clear()

    class Watch:
        def add(self, result: ImageResult) -> None:
            alive.append(sum(ref() is not None for ref in pixels))

    with all_sinks(tmp_path / "results", samples) as sinks:
        drain(runner.predict(many), [*sinks, Watch()])
        waiting = sinks[-1].drawing.limit
    gc.collect()
    assert len(pixels) == len(many) == len(sinks[0].kept["maps"])
    assert sum(ref() is not None for ref in pixels) == 0
    assert max(alive) <= 2 * (AHEAD + 3) + waiting < 50


def test_the_device_is_the_one_that_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == choose_device("cpu") == torch.device("cpu")
    with pytest.raises(InputError, match="'cuda' is not available"):
        choose_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("auto") == choose_device("cuda") == torch.device("cuda")
    assert choose_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize(
    ("has", "expected"), [({}, "32"), ({"avx512_bf16": True}, "bf16-mixed"), ({"amx_bf16": True}, "bf16-mixed")]
)
def test_training_is_in_bfloat16_where_the_processor_has_it(monkeypatch, has, expected) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has, raising=False)
    assert choose_precision("auto", torch.device("cpu")) == expected
    assert choose_precision("32", torch.device("cpu")) == "32"
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: expected != "32")
    assert choose_precision("auto", torch.device("cuda")) == expected


def test_torch_that_does_not_name_the_processors_instructions_trains_in_float32(monkeypatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert choose_precision("auto", torch.device("cpu")) == "32"
