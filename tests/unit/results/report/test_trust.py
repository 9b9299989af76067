"""Whether the first screen says what the figures allow, and no more."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from anomalib_flows.results.report.page import report
from anomalib_flows.results.report.reading import read_results
from drawn_results import IMAGES, THRESHOLD, Scored, write_predictions, write_run


def said(folder: Path) -> tuple[str, str, str]:
    """Status and text of the conclusion, and all other remarks in one line."""
    found = report(read_results(folder))
    return *found["conclusion"], " ".join(remark.text for remark in found["remarks"])


def images(alarms: int, good: int, missed: int, defective: int) -> list[Scored]:
    """Images of which some are wrong."""
    normal = [Scored(f"good/{i}.png", "good", 2 if i < alarms else -1) for i in range(good)]
    return [*normal, *(Scored(f"bad/{i}.png", "dent", 0 if i < missed else 4) for i in range(defective))]


@pytest.mark.parametrize(
    ("counts", "status", "text"),
    [
        ((0, 40, 0, 20), "good", "These decisions can be relied on"),
        ((1, 30, 0, 20), "unknown", "Too few to know whether the promise held"),
        ((20, 40, 0, 20), "bad", "More than promised"),
        ((4, 4, 0, 20), "bad", "False alarms: 4 of 4 good images (100 %"),
        ((0, 40, 15, 20), "bad", "Missed: 15 of 20 defective images (75 %"),
        ((0, 40, 2, 20), "good", "These decisions can be relied on"),
    ],
)
def test_the_conclusion_is_that_of_the_worst_remark(tmp_path: Path, counts, status: str, text: str) -> None:
    run = write_run(tmp_path, images(*counts), pictured=0)
    (run / "config.yaml").write_text((run / "config.yaml").read_text() + "false_alarm_rate: 0.1\n")
    if status == "good" and counts[2]:
        metrics = json.loads((run / "metrics.json").read_text())
        metrics["image"]["auroc"] = 0.99
        (run / "metrics.json").write_text(json.dumps(metrics))
    found = said(run)
    assert found[0] == status
    assert text in found[1]


def write_model(run: Path, threshold: float) -> None:
    """Write what a report reads of a model."""
    tensors = {"image_threshold": np.array(threshold, np.float32), "calibration_scores": np.zeros(9, np.float32)}
    named = {f"postprocess.{name}": tensor for name, tensor in tensors.items()}
    save_file(named, run / "model.safetensors", metadata={"anomalib_flows": "{}"})


def test_results_of_a_former_threshold_are_said_to_be(tmp_path: Path) -> None:
    run = write_run(tmp_path, images(0, 40, 0, 20))
    for threshold, former in ((THRESHOLD, False), (THRESHOLD + 0.25, True)):
        write_model(run, threshold)
        found = report(read_results(run))
        assert ("former threshold" in found["conclusion"].text) == former
        assert ("Asked for" in dict(found["decision"])) == (not former)
        assert bool(found["calibrate"]) == (not former)  # whose scale is that of the present threshold
    metrics = json.loads((run / "metrics.json").read_text())
    (run / "metrics.json").write_text(json.dumps(metrics | {"protocol": "paper"}))  # the model keeps its own
    assert "former threshold" not in said(run)[1]


def test_too_few_calibration_images_are_counted(tmp_path: Path) -> None:
    found = said(write_run(tmp_path, images(0, 40, 0, 20)))
    assert found[0] == "unknown"
    assert "9 good images set the threshold, so 10 % is promised and not 1 %, which takes 99" in found[1]


@pytest.mark.parametrize(("source", "protocol"), [("hand", "calibrated"), ("false-alarm-rate", "paper")])
def test_thresholds_that_promise_nothing_are_said_to(tmp_path: Path, source: str, protocol: str) -> None:
    facts = {"threshold_source": source, "protocol": protocol, "promised_false_alarm_rate": None}
    assert "No rate is promised, as" in " ".join(said(write_run(tmp_path, images(0, 40, 0, 20), **facts)))


def test_a_higher_rate_is_proposed_where_it_finds_many_defects(tmp_path: Path) -> None:
    # The highest 5 % of the good ones, 2 of 40, score 0.9; the missed defects score 0.5, all other good ones less.
    good = [Scored(f"good/{i}.png", "good", 0.9 if i < 2 else -1) for i in range(40)]
    defective = [Scored(f"bad/{i}.png", "dent", 0.5 if i < 12 else 4) for i in range(20)]
    said_of = said(write_run(tmp_path, [*good, *defective], promised_false_alarm_rate=0.01))
    assert "With at most 5 % of false alarms on these images, 0 defects would be missed" in said_of[2]
    assert "of false alarms on these" not in said(write_run(tmp_path, [*good, *defective]))[2]  # 10 % are promised


def test_photos_that_are_scaled_down_far_are_warned_of(tmp_path: Path) -> None:
    # Thumbnails say 600 x 300 pixels, and the input has 64 x 64.
    found = " ".join(said(write_run(tmp_path, IMAGES)))
    assert "scaled down 9.4-fold" in found
    assert "`--image.size`" in found


def test_one_kind_of_image_alone_leaves_the_other_rate_unknown(tmp_path: Path) -> None:
    assert "missed defects is unknown" in " ".join(said(write_run(tmp_path / "good", images(0, 40, 0, 0))))
    bad = write_run(tmp_path / "bad", images(0, 0, 5, 20))
    metrics = json.loads((bad / "metrics.json").read_text())
    metrics["image"]["auroc"] = None
    (bad / "metrics.json").write_text(json.dumps(metrics))
    assert "false alarms is unknown" in " ".join(said(bad))
    assert "overlap" not in " ".join(said(bad))  # with what?


def test_many_anomalous_predictions_are_questioned(tmp_path: Path) -> None:
    few = said(write_predictions(tmp_path / "few", images(2, 40, 0, 0)))
    many = said(write_predictions(tmp_path / "many", images(20, 40, 0, 0)))
    assert few[0] == many[0] == "unknown"
    assert "How many defects are missed is unknown" in few[1]
    assert "If most of them are good" in many[2]
    assert "If most of them are good" not in few[2]
