"""Numbers of charts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomalib_flows.results.report.charts import BINS, Histogram, loss_chart, ticks

numbers = st.floats(-1e6, 1e6)


@given(numbers, st.floats(1e-3, 1e6))
def test_ticks_are_few_and_within_their_range(low: float, width: float) -> None:
    found = ticks(low, low + width)
    assert 2 <= len(found) <= 8
    assert all(low - 1e-6 * width <= tick <= low + width + 1e-6 * width for tick in found)


@given(st.dictionaries(st.sampled_from(["normal", "anomalous"]), st.lists(numbers, min_size=1), min_size=1))
def test_shares_of_a_histogram_sum_to_one(scores: dict[str, list[float]]) -> None:
    found = Histogram(scores)
    assert found.low <= 0
    assert found.high >= 1
    for shares in found.shares.values():
        assert len(shares) == BINS
        assert sum(shares) == pytest.approx(1)


def test_scores_far_away_share_the_last_bin() -> None:
    found = Histogram({"normal": [0.2, 0.3], "anomalous": [0.9, 50, 1000]})
    assert found.high == 3.5
    assert found.clipped == (False, True)
    assert found.shares["anomalous"][-1] == pytest.approx(2 / 3)


def test_losses_of_one_step_are_no_chart() -> None:
    assert loss_chart([{"step": 1, "epoch": 0, "loss": 2.0}]) is None
    chart = loss_chart([{"step": step, "epoch": 0, "loss": 2.0} for step in (4, 4)])
    assert chart
    assert all(chart.ticks)
