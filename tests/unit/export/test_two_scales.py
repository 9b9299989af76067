"""A model with a flow over two scales and two maps is exported as it is: the example plug-in's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
import torch
from tiny_pipelines import SIZE, calibrated, photo

from anomalib_flows.export.folded_flow import FoldedFlow
from anomalib_flows.export.folding import deployable
from anomalib_flows.export.openvino.graph import decide
from anomalib_flows.models.pipeline import Pipeline
from anomalib_flows.testing.trials import maps_of, noise_images, relative_difference

PLUG_IN = Path(__file__).parents[3] / "docs/example_plugin/src"


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch):
    """Make a calibrated pipeline of the plug-in's model."""
    monkeypatch.syspath_prepend(PLUG_IN)
    from flows_example.two_scales import TwoScales

    def build(resize: str = "stretch", **options: Any) -> Pipeline:
        torch.manual_seed(0)
        return calibrated(TwoScales(SIZE, "test_efficientnet", weights="random", **options), resize, smoothing=1.0)

    return build


def test_known_flows_are_folded_and_the_fusion_stays(make) -> None:
    detector = make().detector
    lean, images = deployable(detector), noise_images(SIZE)
    first, fusion, last = lean.flows[0].steps
    assert fusion is detector.flows[0].steps[1]
    assert all(isinstance(flow, FoldedFlow) for part in (first, last) for flow in part.flows)
    assert relative_difference(maps_of(lean, images), maps_of(detector, images)) < 1e-4


@pytest.mark.parametrize("resize", ["stretch", "pad"])
def test_openvino_decides_as_the_pipeline(make, raw_graph, resize: str) -> None:
    trained = make(resize)
    post = trained.postprocess
    graph = decide(raw_graph(trained), post, "native")
    compiled = ov.Core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for seed in range(3):
        image = photo(70, 90, seed=50 + seed, blob=seed > 0)[None]
        outputs = compiled(np.ascontiguousarray(image.permute(0, 2, 3, 1).numpy()))
        found = {name: values for output, values in outputs.items() for name in output.get_names()}
        expected = trained(image)
        shown, scoring = expected.maps[:, :1], expected.maps[:, 1:]
        assert not torch.equal(shown, scoring)
        close = {"rtol": 1e-4, "atol": 1e-4}
        np.testing.assert_allclose(found["raw_score"], expected.scores, **close)
        np.testing.assert_allclose(found["pred_score"], post.normalise_scores(expected.scores), **close)
        np.testing.assert_allclose(found["anomaly_map"], post.normalise(shown), **close)
        np.testing.assert_array_equal(found["pred_label"], expected.labels)
        clear = ((shown - post.pixel_threshold).abs() > 1e-4).numpy()
        np.testing.assert_array_equal(found["pred_mask"][clear], expected.masks.numpy()[clear])
