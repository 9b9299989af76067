"""What the lines about false alarms and missed defects say, and what they do not."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from anomalib_flows.core.types import Sample
from anomalib_flows.data.splits import write_splits
from anomalib_flows.results.decisions import error_lines, few_images_lines, wrong_image_lines
from anomalib_flows.results.metrics.counts import counted
from anomalib_flows.results.metrics.evaluate import evaluate
from anomalib_flows.run.component import Component
from anomalib_flows.run.config import TrainConfig
from anomalib_flows.run.directory import Run


def metrics(alarms: int, good: int, *, rate: float | None = 0.01, source: str = "false-alarm-rate", **missed) -> dict:
    kinds = {kind: counted(*of) for kind, of in missed.items()}
    every = counted(sum(one["count"] for one in kinds.values()), sum(one["of"] for one in kinds.values()))
    errors = {"false_alarms": counted(alarms, good), "missed": every, "missed_of_kind": kinds}
    return {
        "protocol": "calibrated",
        "threshold_source": source,
        "promised_false_alarm_rate": rate,
        "errors": errors,
    }


@pytest.mark.parametrize(
    ("alarms", "good", "rate", "said"),
    [
        (
            2,
            24,
            0.01,
            "2 of 24 good images (8.3 %, 95 % interval 1 to 27 %; promised: 1 %). More than promised",
        ),
        (0, 24, 0.01, "Too few to know whether the promise held: 368 good images without a false alarm would show it."),
        (0, 368, 0.01, "(0 %, 95 % interval 0 to 1 %; promised: 1 %). The promise held."),
        (5, 500, 0.01, "That neither confirms nor contradicts the promise."),
        (1, 1, 0.5, "(100 %, 95 % interval 2.5 to 100 %; promised: 50 %). Too few to know"),
    ],
)
def test_false_alarms_are_compared_with_the_promise(alarms, good, rate, said) -> None:
    assert said in " ".join(error_lines(metrics(alarms, good, rate=rate))[:2])


@pytest.mark.parametrize(("source", "why"), [("hand", "was set by hand"), ("defects", "photos of defects set")])
def test_nothing_is_promised_by_other_thresholds(source, why) -> None:
    line = error_lines(metrics(0, 50, rate=None, source=source))[0]
    assert "no rate is promised" in line
    assert why in line
    assert line.endswith(").")


def test_missed_defects_are_counted_by_kind() -> None:
    line = error_lines(metrics(0, 50, crack=(7, 10), dent=(5, 40)))[-1]
    assert line == "Missed: 12 of 50 defective images (24 %, 95 % interval 13 to 38 %; crack 7 of 10, dent 5 of 40)."


def test_what_one_kind_of_image_cannot_show_is_said() -> None:
    assert error_lines(metrics(0, 50))[-1].startswith("Missed: unknown without defective images")
    assert error_lines(metrics(0, 0, crack=(1, 2)))[0].startswith("False alarms: unknown without good images")


def test_metrics_of_earlier_versions_have_no_lines() -> None:
    assert error_lines({"protocol": "calibrated"}) == []


def run_of(folder: Path, train: int, calibration: int, **more) -> Run:
    """A run with as much as says what its threshold promises."""
    run = Run(folder)
    run.write_config(TrainConfig(model=Component("fastflow"), **more))
    splits = ["train"] * train + ["calibration"] * calibration
    write_splits([Sample(folder / f"{i}.png", split) for i, split in enumerate(splits)], run.splits_file)
    described = {
        "anomalib_flows": json.dumps({"threshold_source": "hand" if "threshold" in more else "false-alarm-rate"})
    }
    tensors = {"postprocess.image_threshold": np.float32(1), "postprocess.calibration_scores": np.zeros(calibration)}
    save_file({name: np.asarray(tensor) for name, tensor in tensors.items()}, run.model_file, metadata=described)
    return run


@pytest.mark.parametrize(
    ("train", "calibration", "more", "said"),
    [
        (
            7,
            1,
            {},
            "1 held-out good image set the threshold, so 50 % is promised and not 1 %, which takes 99: about 660 more",
        ),
        (
            58,
            10,
            {},
            "10 held-out good images set the threshold, so 9.1 % is promised and not 1 %, .* about 600 more",
        ),
        (
            58,
            10,
            {"false_alarm_rate": 0.05},
            "10 held-out good images set .* not 5 %, which takes 19: about 60 more good images",
        ),
        (58, 40, {}, "40 good images set .*, which takes 99: 99 new ones for 'calibrate --images'"),
    ],
)
def test_too_few_photos_are_said_with_how_many_would_do(tmp_path, train, calibration, more, said) -> None:
    [line] = few_images_lines(run_of(tmp_path, train, calibration, **more))
    assert re.match(said, line)


@pytest.mark.parametrize(
    ("calibration", "more"),
    [(99, {}), (10, {"false_alarm_rate": 0.1}), (1, {"threshold": 0.6}), (19, {"false_alarm_rate": 0.05})],
)
def test_enough_photos_or_no_promise_need_no_line(tmp_path, calibration, more) -> None:
    assert few_images_lines(run_of(tmp_path, 7, calibration, **more)) == []


def test_a_test_that_promises_nothing_needs_no_line(tmp_path) -> None:
    run = run_of(tmp_path, 7, 1)
    found = evaluate([0.1, 0.9], [0, 1], 0.5, list(np.zeros((2, 4, 4))), [None, np.eye(4)], ["good", "cut"], 0.5)
    run.write_json("metrics.json", found | {"promised_false_alarm_rate": 0.5})
    assert few_images_lines(run)
    run.write_json("metrics.json", found | {"promised_false_alarm_rate": None, "protocol": "paper"})
    assert few_images_lines(run) == []


def row(outcome: str, score: float, path: str, raw: float | None = None) -> dict:
    kind = "good" if outcome == "false alarm" else "crack"
    return {"outcome": outcome, "score": score, "raw_score": raw, "defect": kind, "path": path}


def test_wrong_images_are_named_the_worst_first_and_not_too_many() -> None:
    rows = [row("missed", 0.4, "m/1.png"), row("correct", 0.9, "c.png"), row("missed", 0.1, "m/0.png")]
    rows += [row("false alarm", 0.5 + i / 100, f"a/{i}.png") for i in range(13)]
    lines = wrong_image_lines(rows, "run/predictions.csv")
    assert lines[0].startswith("False alarms, highest")
    assert [line.split()[-1] for line in lines[1:11]] == [f"a/{i}.png" for i in range(12, 2, -1)]
    assert lines[11] == "  and 3 more: run/predictions.csv"
    assert lines[12].startswith("Missed, lowest")
    assert lines[13:] == ["  0.100  crack  m/0.png", "  0.400  crack  m/1.png"]
    assert wrong_image_lines([row("correct", 0.1, "c.png")], "") == []


def test_wrong_images_whose_scores_are_clipped_are_ordered_by_raw_scores() -> None:
    rows = [row("false alarm", 1.0, f"{raw}.png", raw) for raw in (-0.5, 3.0, 1.0)]
    assert [line.split()[-1] for line in wrong_image_lines(rows, "")[1:]] == ["3.0.png", "1.0.png", "-0.5.png"]
