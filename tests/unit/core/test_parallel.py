import time

import pytest

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.files import default_threads, map_in_threads


def test_results_have_the_order_of_the_items() -> None:
    def slow_first(item: int) -> int:
        time.sleep(0.02 / (1 + item))
        return item * item

    assert map_in_threads(slow_first, range(9), "squaring") == [i * i for i in range(9)]
    assert map_in_threads(slow_first, [], "squaring") == []


def test_the_first_error_ends_the_work() -> None:
    done = []

    def fail_early(item: int) -> None:
        if item == 3:
            raise InputError("3 cannot be used: leave it out.")
        time.sleep(0.001)
        done.append(item)

    with pytest.raises(InputError, match="3 cannot be used"):
        map_in_threads(fail_early, range(1000), "working")
    assert len(done) < 999


def test_there_are_one_to_eight_threads() -> None:
    assert 1 <= default_threads() <= 8
