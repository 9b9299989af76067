"""Intervals of counts, against SciPy's."""

import pytest
from scipy.stats import binom, binomtest

from anomalib_flows.results.metrics.counts import counted, exact_interval, images_to_show


@pytest.mark.parametrize("total", [1, 2, 7, 24, 300])
def test_intervals_equal_those_of_scipy(total: int) -> None:
    for count in {0, 1, total // 3, total - 1, total}:
        expected = binomtest(count, total).proportion_ci(0.95, method="exact")
        assert exact_interval(count, total) == pytest.approx((expected.low, expected.high), abs=1e-9)


@pytest.mark.parametrize("rate", [0.01, 0.077, 0.5])
def test_intervals_cover_the_rate_at_least_as_often_as_they_say(rate: float) -> None:
    total = 40
    covered = [k for k in range(total + 1) if exact_interval(k, total)[0] <= rate <= exact_interval(k, total)[1]]
    assert binom.pmf(covered, total, rate).sum() >= 0.95


@pytest.mark.parametrize("rate", [0.001, 0.01, 1 / 13, 0.25, 0.9])
def test_fewest_images_that_can_show_a_rate(rate: float) -> None:
    needed = images_to_show(rate)
    assert exact_interval(0, needed)[1] <= rate
    assert needed == 1 or exact_interval(0, needed - 1)[1] > rate


def test_without_images_there_is_no_interval() -> None:
    assert counted(0, 0) == {"count": 0, "of": 0, "interval": None}
