"""Runs of earlier versions are compared by the values that their options had."""

from dataclasses import replace

import pytest

from anomalib_flows.core.errors import InputError
from anomalib_flows.experiment.resuming import require_unchanged
from anomalib_flows.models.fastflow import FastFlow
from anomalib_flows.run.component import Component
from anomalib_flows.run.config import TrainConfig


def test_an_option_that_a_run_does_not_name_has_its_earlier_value() -> None:
    before = TrainConfig(model=Component("fastflow"), data=Component("synthetic"))
    same = replace(before, model=Component("fastflow", FastFlow.earlier))
    require_unchanged(before, same, set(), set())
    other = replace(before, model=Component("fastflow", {**FastFlow.earlier, "components": 160}))
    with pytest.raises(InputError, match=r"^`model\.components` cannot change when a run is resumed: leave it out"):
        require_unchanged(before, other, set(), set())
