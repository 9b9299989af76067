"""A grid is continued only in a folder whose runs have the options that it asks for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from anomalib_flows.benchmark.grid import Cell
from anomalib_flows.benchmark.running import require_same
from anomalib_flows.core.errors import InputError
from anomalib_flows.models.fastflow import FastFlow
from anomalib_flows.run.component import Component
from anomalib_flows.run.config import TrainConfig
from anomalib_flows.run.directory import Run


def test_a_run_with_other_defaults_is_not_of_the_grid(tmp_path: Path) -> None:
    asked = TrainConfig(model=Component("fastflow", {"steps": 2}), data=Component("synthetic"))
    cell, run = Cell("fastflow", asked, "fabric", "seed0"), Run(tmp_path)
    run.write_config(replace(asked, model=asked.model.with_defaults("models")))
    require_same(run, cell)
    run.write_config(replace(asked, model=Component("fastflow", {**FastFlow.earlier, "steps": 2})))
    with pytest.raises(InputError, match=r"was made with other options \(`model\.\w+`\)"):
        require_same(run, cell)
