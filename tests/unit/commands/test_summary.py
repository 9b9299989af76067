"""The table of metrics says why a metric is missing."""

from __future__ import annotations

import numpy as np
import pytest

from anomalib_flows.commands.summary import metrics_table
from anomalib_flows.results.metrics.evaluate import evaluate

MASK = np.eye(4, dtype=bool)
CASES = {
    "nothing is missing": ([0, 1, 1], [None, MASK, MASK], "", ""),
    "no good images": ([1, 1, 1], [MASK, MASK, MASK], "no good test images", "--data.normal_test"),
    "no defective images": ([0, 0, 0], [None, None, None], "no defective test images", "--data.abnormal"),
    "no masks": ([0, 1, 1], [None, None, None], "no defective image has a mask", "--data.masks"),
    "no masks of one kind": ([0, 1, 1], [None, MASK, None], "no image of dent has a mask", "--data.masks"),
}


@pytest.mark.parametrize("dataset", ["folder", "mvtec"])
@pytest.mark.parametrize(("labels", "masks", "why", "option"), CASES.values(), ids=CASES)
def test_a_dash_comes_with_its_reason_and_what_to_give(dataset, labels, masks, why: str, option: str) -> None:
    maps = np.random.default_rng(0).random((3, 4, 4))
    defects = ["cut" if labels[0] else "good", "cut", "dent"]
    metrics = evaluate([0.1, 0.8, 0.9], labels, 0.5, list(maps), masks, defects, 0.5)
    table = metrics_table(metrics | {"dataset": dataset})
    rows, _, notes = table.partition("\n-: ")
    assert (" - " in f"{rows} ".replace("\n", " ")) == bool(why)
    assert why in notes
    assert (option in notes) == (dataset == "folder") or not why
    assert notes.count("-:") == 0
