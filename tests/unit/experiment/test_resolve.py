"""Defaults that depend on the model get their values before a run is recorded."""

from __future__ import annotations

import pytest
import torch

from anomalib_flows.experiment.train import resolve
from anomalib_flows.models.cflow import CFlow
from anomalib_flows.models.fastflow import FastFlow
from anomalib_flows.run.component import Component
from anomalib_flows.run.config import TrainConfig


@pytest.mark.parametrize(("model", "batch"), [(FastFlow, 16), (CFlow, 32)])
def test_the_model_sets_the_largest_batch(model, batch) -> None:
    config = TrainConfig(model=Component("fastflow"), data=Component("synthetic"))
    assert resolve(config, torch.device("cpu"), 3200, model.largest_batch).loader.batch_size == batch
