from math import ceil
from statistics import mean, quantiles

import numpy as np
import pytest

from anomalib_flows.core import timing
from anomalib_flows.core.timing import MIN_CALLS, WARM_UP, repeat, summary, timed


class Clock:
    """Clock that a test moves on."""

    now = 100.0

    def perf_counter(self) -> float:
        return self.now

    def pass_(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(timing, "time", clock)
    return clock


@pytest.mark.parametrize("seconds", [0.5, 5.0, 7.5])
def test_the_measurement_lasts_its_time_and_a_minimum_of_calls(clock, seconds):
    told = []
    taken = list(repeat([lambda: clock.pass_(0.25)], seconds, told.append))
    assert taken == [0.25] * max(MIN_CALLS, ceil(seconds / 0.25))
    assert sum(told) == sum(taken)


@pytest.mark.parametrize("number", [1, 3, WARM_UP + 2])
def test_calls_take_turns_after_one_that_is_not_measured(clock, number):
    called = []

    def make(index):
        def call():
            clock.pass_(10.0 if index not in called else 0.5)  # the first time takes long
            called.append(index)

        return call

    taken = list(repeat([make(index) for index in range(number)], 10.0, lambda _: None))
    assert set(taken) == {0.5}
    assert len(called) == 20 + max(WARM_UP, number)
    counts = [called.count(index) for index in range(number)]
    assert max(counts) - min(counts) <= 2
    assert [called[-20:][i] for i in range(number)] == list(range(number))


def test_time_between_calls_is_not_measured(clock):
    told = []
    for taken in repeat([lambda: clock.pass_(0.25)], 5.0, told.append):
        assert taken == 0.25
        clock.pass_(0.75)
    assert clock.now - 100 == pytest.approx(sum(told) + WARM_UP * 0.25, abs=1)


def test_summary_is_that_of_the_standard_library():
    taken = np.random.default_rng(0).gamma(2.0, 0.01, 500).tolist()
    cuts = quantiles(taken, n=100, method="inclusive")
    times = summary(taken)
    assert (times.median_ms, times.p90_ms, times.p99_ms) == pytest.approx(tuple(1000 * cuts[i] for i in (49, 89, 98)))
    assert times.calls == 500


def test_timed_returns_milliseconds(clock):
    lengths = iter([1.0] * WARM_UP + [0.001 * n for n in range(1, 101)])
    times = timed([lambda: clock.pass_(next(lengths))], sum(0.001 * n for n in range(1, 101)) - 1e-9, lambda _: None)
    assert times.calls == 100
    assert times.median_ms == pytest.approx(mean([50, 51]))
