"""Sinks take results one by one; metrics are those of the arrays, and no sink keeps pictures."""

import gc
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomalib_flows.core.types import ANOMALOUS, NORMAL, ImageResult, Sample
from anomalib_flows.results.drawing import drawing
from anomalib_flows.results.metrics.evaluate import evaluate
from anomalib_flows.results.pictures import FigureSink, PictureSink, name_figures
from anomalib_flows.results.sinks import LabelCounter, MetricsSink, Thresholds, drain
from anomalib_flows.results.table import open_table
from anomalib_flows.results.thumbnails import open_thumbnails

Make = Callable[..., ImageResult]
MakeSample = Callable[..., Sample]


class Recorder:
    """Record which results it was given, in a list that several of them share."""

    def __init__(self, name: str, seen: list[tuple[str, ImageResult]]) -> None:
        self.name, self.seen = name, seen

    def add(self, result: ImageResult) -> None:
        self.seen.append((self.name, result))


@given(st.integers(0, 6), st.integers(0, 3))
@settings(deadline=None)
def test_each_result_goes_to_all_sinks_in_order(results: int, sinks: int) -> None:
    seen: list[tuple[str, ImageResult]] = []
    given_results = [object() for _ in range(results)]
    drain(iter(given_results), [Recorder(str(i), seen) for i in range(sinks)])
    assert seen == [(str(i), result) for result in given_results for i in range(sinks)]


def test_a_result_reaches_the_sinks_before_the_next_one_is_computed(make_result: Make) -> None:
    seen: list[tuple[str, ImageResult]] = []

    def results() -> Iterator[ImageResult]:
        for i in range(3):
            assert len(seen) == 2 * i
            yield make_result()

    drain(results(), [Recorder("a", seen), Recorder("b", seen)])
    assert len(seen) == 6


def test_labels_are_counted(make_result: Make) -> None:
    counter = LabelCounter()
    drain([make_result(label=label) for label in (0, 1, 1, 0, 1)], [counter])
    assert counter.counts == {NORMAL: 2, ANOMALOUS: 3}


def random_results(make_result: Make, make_sample: MakeSample, *, exported: bool = False) -> list[ImageResult]:
    rng, results = np.random.default_rng(0), []
    for i, defect in enumerate(["good", "crack", "good", "dent", "crack", "good", "scratch"]):
        label, size = int(defect != "good"), (6 + i, 9 - i % 3)
        mask = (rng.random(size) < 0.3) & bool(label)
        raw = (rng.standard_normal(size) + mask).astype(np.float32)
        result = make_result(
            sample=make_sample(f"{i}.png", label, defect),
            score=float(rng.random()),
            raw_score=None if exported else float(np.float32(rng.standard_normal() + label)),
            anomaly_map=1 / (1 + np.exp(-raw)),
            raw_map=None if exported else raw,
            mask=raw > 0,
            ground_truth=None if defect == "scratch" else mask,
            label=0,
        )
        results.append(result)
    return results


def collected(results: list[ImageResult]) -> MetricsSink:
    sink = MetricsSink()
    drain(results, [sink])
    return sink


def test_metrics_are_those_of_the_same_arrays(make_result: Make, make_sample: MakeSample) -> None:
    results = random_results(make_result, make_sample)
    expected = evaluate(
        scores=np.array([r.raw_score for r in results], np.float32),
        labels=[r.sample.label for r in results],
        threshold=0.25,
        maps=[r.raw_map for r in results],
        masks=[r.ground_truth if r.sample.label else None for r in results],
        defects=[r.sample.defect for r in results],
        pixel_threshold=0.5,
    )
    assert collected(results).metrics(Thresholds(0.25, 0.5)) == expected
    assert expected["image"]["auroc"] is not None
    assert expected["pixel"]["masked_images"] == 3


def test_metrics_of_exported_models_are_those_of_normalised_values(make_result: Make, make_sample: MakeSample) -> None:
    results = random_results(make_result, make_sample, exported=True)
    expected = evaluate(
        scores=np.array([r.score for r in results], np.float32),
        labels=[r.sample.label for r in results],
        threshold=0.5,
        maps=[r.anomaly_map for r in results],
        masks=[r.ground_truth if r.sample.label else None for r in results],
        defects=[r.sample.defect for r in results],
        pixel_threshold=0.5,
    )
    assert collected(results).metrics(Thresholds(0.5, 0.5)) == expected


def test_scores_are_compared_in_single_precision(make_result: Make, make_sample: MakeSample) -> None:
    """A score equals its threshold if both are the same number of single precision."""
    score = float(np.float32(0.1))
    results = [
        make_result(sample=make_sample("0.png", 0, "good"), raw_score=score, raw_map=np.zeros((2, 2), np.float32)),
        make_result(
            raw_score=0.1, raw_map=np.ones((2, 2), np.float32), ground_truth=np.ones((2, 2), dtype=bool), label=1
        ),
    ]
    assert collected(results).metrics(Thresholds(score, 0.5))["image"]["auroc"] == 0.5


def test_metrics_need_ground_truth(make_result: Make) -> None:
    with pytest.raises(ValueError, match="ground truth"):
        MetricsSink().add(make_result(sample=None))


def test_no_sink_keeps_pictures(tmp_path: Path, make_result: Make, make_sample: MakeSample) -> None:
    pictures: list[weakref.ref[np.ndarray]] = []
    kept: list[weakref.ref[ImageResult]] = []
    most = 0
    samples = [make_sample(f"/data/{i:02}.png", i % 2) for i in range(60)]

    def results() -> Iterator[ImageResult]:
        nonlocal most
        for sample in samples:
            picture = np.full((20, 30, 3), 9, np.uint8)
            result = make_result(sample=sample, picture=picture)
            pictures.append(weakref.ref(picture))
            kept.append(weakref.ref(result))
            del picture
            yield result
            del result
            most = max(most, sum(ref() is not None for ref in pictures))

    metrics, names = MetricsSink(), name_figures(samples, Path("/synthetic"), 60)
    with (
        open_table(tmp_path / "predictions.csv", labelled=True) as table,
        drawing() as threads,
        open_thumbnails(tmp_path / "thumbnails.jsonl", threads, labelled=True) as thumbnails,
    ):
        sinks = [
            *(metrics, table, LabelCounter(), FigureSink(threads, tmp_path / "figures", names), thumbnails),
            PictureSink(threads, tmp_path / "pictures", lambda result: Path(result.sample.path.name)),
        ]
        drain(results(), sinks)
        waiting = threads.limit
    gc.collect()
    assert [ref() for ref in pictures + kept if ref() is not None] == []
    assert most <= waiting + 4 < len(samples)
    assert len(metrics.kept["maps"]) == len(samples)
