"""What the lines about false alarms and missed defects say, and what they do not."""

import pytest

from anomalib_flows.results.decisions import error_lines
from anomalib_flows.results.metrics.counts import counted


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
