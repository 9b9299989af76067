"""The threshold by known defects."""

import numpy as np
import pytest
import torch

from anomalib_flows.experiment.defects import highest_threshold


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("missed", [0, 1, 5, 11])
def test_no_higher_threshold_misses_as_few(missed: int, ties: bool) -> None:
    scores = torch.randn(12, generator=torch.Generator().manual_seed(missed))
    scores = scores.round() if ties else scores
    threshold = highest_threshold(scores, missed)
    assert int((scores <= threshold).sum()) <= missed
    higher = torch.nextafter(threshold, torch.tensor(torch.inf))
    assert int((scores <= higher).sum()) > missed


def test_new_defects_are_missed_at_no_higher_rate_than_is_said() -> None:
    runs, count, allowed = 4000, 9, 1
    draws = torch.from_numpy(np.random.default_rng(0).normal(size=(runs, count + 1)).astype(np.float32))
    missed = sum(bool(row[-1] <= highest_threshold(row[:-1], allowed)) for row in draws)
    assert missed / runs == pytest.approx((allowed + 1) / (count + 1), abs=0.02)
