"""Small calibrated pipelines, and their graphs, each of which is built once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import openvino as ov
import pytest
import torch
from tiny_pipelines import ARGUMENTS, SIZE, calibrated

from anomalib_flows.core import registry
from anomalib_flows.export.network import Network
from anomalib_flows.export.openvino.graph import build_network
from anomalib_flows.export.options import InputOptions
from anomalib_flows.models.pipeline import Pipeline


@pytest.fixture(scope="session")
def pipeline() -> Callable[..., Pipeline]:
    """Make a pipeline of a model, once for each set of options."""
    made: dict[Any, Pipeline] = {}

    def make(model: str = "fastflow", resize: str = "stretch", **heatmap: float) -> Pipeline:
        key = (model, resize, *sorted(heatmap.items()))
        if key not in made:
            torch.manual_seed(0)
            detector = registry.load("models", model)(SIZE, **ARGUMENTS[model])
            made[key] = calibrated(detector, resize, **heatmap)
        return made[key]

    return make


@pytest.fixture(scope="session")
def raw_graph() -> Callable[..., ov.Model]:
    """Build the graph to raw maps of a pipeline, once for each set of options; copies may be changed."""
    built: dict[Any, ov.Model] = {}

    def build(pipeline: Pipeline, *, unit_floats: bool = False, **options: Any) -> ov.Model:
        key = (id(pipeline), unit_floats, *sorted(options.items()))
        if key not in built:
            network = Network(pipeline, InputOptions(**options), unit_floats=unit_floats)
            built[key] = build_network(network)
        return built[key].clone()

    return build
