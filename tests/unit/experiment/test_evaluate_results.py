"""What an evaluation writes: a table, figures and metrics, which replace those of the evaluation before."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from anomalib_flows.core.finding import OWN
from anomalib_flows.core.types import ANOMALOUS, NORMAL, ImageResult, Sample
from anomalib_flows.experiment.evaluate import TestSet, evaluate_results
from anomalib_flows.results.report.reading import read_results
from anomalib_flows.results.sinks import MetricsSink, Thresholds, drain
from anomalib_flows.run.directory import Run

NAMES = ["good/0.png", "good/1.png", "cut/0.png", "cut/1.png", "dent/0.png"]
THRESHOLDS = Thresholds(0.5, 0.5, -0.25)
FACTS = {"protocol": "calibrated", "threshold_source": "hand", "promised_false_alarm_rate": None}
FILES = {"metrics.json", "predictions.csv", "curves.json", "thumbnails.jsonl", "report.html"}


def result_of(sample: Sample, seed: int) -> ImageResult:
    rng = np.random.default_rng(seed)
    raw = rng.random((12, 16), np.float32)
    return ImageResult(
        score=float(raw.max()),
        label=seed % 2,
        p_value=0.25,
        raw_score=float(raw.mean()),
        anomaly_map=raw,
        mask=raw > 0.5,
        raw_map=raw,
        picture=rng.integers(0, 256, (24, 32, 3), np.uint8),
        sample=sample,
        ground_truth=raw > 0.4 if sample.label == ANOMALOUS else np.zeros_like(raw, bool),
    )


@pytest.fixture
def run(tmp_path: Path) -> Run:
    (tmp_path / "run").mkdir()
    return Run(tmp_path / "run")


@pytest.fixture
def samples() -> list[Sample]:
    labels = [NORMAL if "good" in name else ANOMALOUS for name in NAMES]
    kinds = [name.partition("/")[0] for name in NAMES]
    return [
        Sample(Path("/data/test", name), "test", label, kind)
        for name, label, kind in zip(NAMES, labels, kinds, strict=True)
    ]


def write(run: Run, samples: list[Sample], figures: int = 100) -> list[ImageResult]:
    results = [result_of(sample, i) for i, sample in enumerate(samples)]
    evaluate_results(run, iter(results), TestSet("folder", "tiles", samples, figures), THRESHOLDS, FACTS)
    return results


def files_in(folder: Path) -> set[str]:
    return {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file() and file.name != OWN}


def test_facts_of_a_prediction_go_with_its_table(run: Run, samples: list[Sample]) -> None:
    run.write_json(run.prediction_file.name, FACTS | {"image_scale": {"typical": 0.0, "threshold": 1.0}})
    write(run, samples)
    found = read_results(run.path)
    assert found.metrics
    assert found.metrics["subset"] == "tiles"


def test_table_figures_and_metrics_are_written(run: Run, samples: list[Sample]) -> None:
    results = write(run, samples)
    assert files_in(run.images) == {name.replace(".png", ".jpg") for name in NAMES}
    assert {file.name for file in run.path.iterdir()} == FILES | {"images"}
    with run.predictions_file.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["path"] for row in rows] == [str(sample.path) for sample in samples]
    for column in ("score", "raw_score"):
        assert [np.float32(row[column]) for row in rows] == [np.float32(getattr(r, column)) for r in results]
    assert [row["outcome"] for row in rows] == ["correct", "false alarm", "missed", "correct", "missed"]


def test_metrics_say_what_was_evaluated(run: Run, samples: list[Sample]) -> None:
    sink = MetricsSink()
    drain(write(run, samples), [sink])
    scale = {"typical": -0.25, "threshold": 0.5}
    about = {"dataset": "folder", "subset": "tiles", "image_scale": scale} | FACTS
    found = json.loads(json.dumps(about | sink.metrics(THRESHOLDS)))
    assert found.pop("curves") == json.loads(run.curves_file.read_text())
    assert {k: v for k, v in run.metrics().items() if k != "errors"} == found


def test_metrics_count_false_alarms_and_missed_defects(run: Run, samples: list[Sample]) -> None:
    write(run, samples)  # every other image is called anomalous
    errors = run.metrics()["errors"]
    assert (errors["false_alarms"]["count"], errors["false_alarms"]["of"]) == (1, 2)
    assert (errors["missed"]["count"], errors["missed"]["of"]) == (2, 3)
    assert (errors["marked_good_images"]["count"], errors["marked_good_images"]["of"]) == (2, 2)
    kinds = {kind: (one["count"], one["of"]) for kind, one in errors["missed_of_kind"].items()}
    assert kinds == {"cut": (1, 2), "dent": (1, 1)}
    write(run, samples[:2])
    assert run.metrics()["errors"]["missed"] == {"count": 0, "of": 0, "interval": None}


def test_figures_of_fewer_images_keep_their_places(run: Run, samples: list[Sample]) -> None:
    write(run, samples, 1)
    assert files_in(run.images) == {"cut/0.jpg"}
    write(run, samples, 3)
    assert files_in(run.images) == {"good/0.jpg", "cut/0.jpg", "dent/0.jpg"}


def test_without_figures_former_ones_do_not_stay(run: Run, samples: list[Sample]) -> None:
    write(run, samples, 1)
    write(run, samples, 0)
    assert files_in(run.path) == FILES
    assert not run.images.exists()


def test_synthetic_defects_have_figures_beside_the_good_images(run: Run, samples: list[Sample]) -> None:
    part = run.validation
    part.path.mkdir()
    defective = Sample(part.drawn / "defects/scratch/0000.png", "validation", ANOMALOUS, "scratch")
    write(part, [*samples[:2], defective])
    assert files_in(part.images) == {"good/0.jpg", "good/1.jpg", "scratch/0000.jpg"}


def test_an_evaluation_that_fails_leaves_the_one_before(run: Run, samples: list[Sample]) -> None:
    write(run, samples)
    before = {name: (run.path / name).read_bytes() for name in files_in(run.path)}

    def failing():
        yield result_of(samples[0], 7)
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        evaluate_results(run, failing(), TestSet("other", "tiles", samples, 9), THRESHOLDS, {})
    assert {name: (run.path / name).read_bytes() for name in files_in(run.path)} == before
    assert not [path for path in run.path.rglob("*") if ".tmp" in path.name]
