"""Graphs make the same decisions as the pipeline, for all kinds of input."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import openvino as ov
import pytest
import torch
from openvino import opset13 as ops
from tiny_pipelines import SIZE, calibrated, photo
from torch import Tensor, nn

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.types import Interface
from anomalib_flows.export.export import by_highest_pixel
from anomalib_flows.export.folded_flow import Reordering
from anomalib_flows.export.network import Network
from anomalib_flows.export.openvino.graph import OUTPUTS, build_network, decide
from anomalib_flows.export.options import InputOptions
from anomalib_flows.export.predictors import pipeline_predictor
from anomalib_flows.models.base import Detector
from anomalib_flows.models.pipeline import Pipeline
from anomalib_flows.models.postprocess import Postprocess
from anomalib_flows.runtime.ports import PARTS

PHOTOS = [(64, 64), (65, 66), (201, 97), (30, 111)]
TYPES = {"pred_score": "f32", "pred_label": "i32", "anomaly_map": "f32", "pred_mask": "u8", "raw_score": "f32"}


def outputs_of(model: ov.Model, images: np.ndarray) -> dict[str, np.ndarray]:
    """Compute a graph in f32, like exported models."""
    request = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"}).create_infer_request()
    request.infer({0: images})
    names = [name for output in model.outputs for name in output.get_names()]
    return {name: np.array(request.get_tensor(name).data) for name in names}


def taken(images: Tensor, layout: str = "NHWC", channels: str = "RGB") -> np.ndarray:
    """Convert RGB images (B, 3, h, w) to the input of a graph."""
    array = images.numpy()
    array = array[:, ::-1] if channels == "BGR" else array
    return np.ascontiguousarray(array.transpose(0, 2, 3, 1) if layout == "NHWC" else array)


def require_same(found: dict[str, np.ndarray], pipeline: Pipeline, images: Tensor) -> None:
    """Fail unless the outputs of a graph are those of the pipeline."""
    said, post = pipeline(images), pipeline.postprocess
    close = {"atol": 1e-5, "rtol": 1e-5}
    np.testing.assert_allclose(found["raw_score"], said.scores, **close)
    np.testing.assert_allclose(found["pred_score"], post.normalise_scores(said.scores), **close)
    np.testing.assert_allclose(found["anomaly_map"], post.normalise(said.maps[:, :1]), **close)
    np.testing.assert_array_equal(found["pred_label"], said.labels)
    clear = (said.maps[:, :1] - post.pixel_threshold).abs() > 1e-5
    np.testing.assert_array_equal(found["pred_mask"][clear], said.masks[clear])


CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "fastflow": ({"model": "fastflow"}, {}),
    "fastflow, smoothed maximum, padded, batch": (
        {"model": "fastflow", "resize": "pad", "smoothing": 1.5, "top_percent": 0.0},
        {"layout": "NCHW", "channels": "BGR", "batch": 0},
    ),
    "cflow, batch": ({"model": "cflow"}, {"layout": "NCHW", "batch": 0}),
    "cflow, padded": ({"model": "cflow", "resize": "pad"}, {"channels": "BGR"}),
}


@pytest.mark.parametrize("case", CASES)
def test_a_graph_makes_the_decisions_of_the_pipeline(case: str, pipeline, raw_graph) -> None:
    arguments, options = CASES[case]
    trained = pipeline(**arguments)
    photos = [photo(*shape, seed=100 + i, blob=i % 2 == 1)[None] for i, shape in enumerate(PHOTOS)]
    trained.postprocess.image_threshold = torch.cat([trained(image).scores for image in photos]).quantile(0.5)
    model = decide(raw_graph(trained, **options), trained.postprocess, "native")
    order = {key: options[key] for key in ("layout", "channels") if key in options}
    labels = []
    for image in photos:
        found = outputs_of(model, taken(image, **order))
        require_same(found, trained, image)
        labels += found["pred_label"].tolist()
    assert set(labels) == {0, 1}
    grey = photo(80, 70, seed=9)[:1].repeat(3, 1, 1)[None]
    require_same(outputs_of(model, taken(grey, **order)), trained, grey)
    if options.get("batch") == 0:
        images = torch.stack([photo(50, 75, seed, blob=seed == 1) for seed in range(3)])
        require_same(outputs_of(model, taken(images, **order)), trained, images)


def test_one_size(pipeline, raw_graph) -> None:
    trained = pipeline()
    model = decide(raw_graph(trained, size=(90, 70)), trained.postprocess, "native")
    assert not model.is_dynamic()
    assert list(model.input("image").shape) == [1, 90, 70, 3]
    image = photo(90, 70, blob=True)[None]
    require_same(outputs_of(model, taken(image)), trained, image)


def test_without_preprocessing(pipeline, raw_graph) -> None:
    trained = pipeline()
    model = decide(raw_graph(trained, preprocessing=False), trained.postprocess, "native")
    assert model.input("image").get_element_type() == ov.Type.f32
    assert list(model.input("image").shape) == [1, 3, *SIZE]
    image = photo(90, 70, blob=True)[None]
    require_same(outputs_of(model, trained.preprocess.resize(image).numpy()), trained, image)


def test_anomalib_passes_floats_from_0_to_1(pipeline, raw_graph) -> None:
    trained = pipeline()
    graph = raw_graph(trained, unit_floats=True, layout="NCHW")
    model = decide(graph, trained.postprocess, "anomalib")
    assert model.input("image").get_element_type() == ov.Type.f32
    image = photo(90, 70, blob=True)[None]
    found, said = outputs_of(model, image.numpy().astype(np.float32) / 255), trained(image)
    scores = trained.postprocess.normalise_scores(said.scores)
    np.testing.assert_allclose(found["pred_score"], scores, atol=1e-5)
    np.testing.assert_allclose(found["anomaly_map"], trained.postprocess.normalise(said.maps[:, :1]), atol=1e-5)


@pytest.mark.parametrize("interface", OUTPUTS)
def test_interfaces(interface: Interface, pipeline, raw_graph) -> None:
    trained = pipeline()
    model = decide(raw_graph(trained), trained.postprocess, interface)
    names = {
        "native": list(TYPES),
        "model-api": ["pred_score", "pred_label", "anomaly_map", "pred_mask"],
        "model-api-map": ["raw_map"],
        "anomalib": ["pred_score", "pred_label", "anomaly_map", "pred_mask"],
    }[interface]
    assert [output.get_names() for output in model.outputs] == [{name} for name in names]
    compiled = ov.Core().compile_model(model, "CPU")  # devices may merge operations, names and all
    assert [output.get_names() for output in compiled.outputs] == [{name} for name in names]
    types = {name: model.output(name).get_element_type().get_type_name() for name in names}
    assert types == {name: TYPES.get(name, "f32") for name in names}
    (image,) = model.inputs
    assert image.get_names() == {"image"}
    assert image.get_element_type() == ov.Type.u8
    assert image.get_partial_shape() == ov.PartialShape([1, -1, -1, 3])
    assert ov.layout_helpers.get_layout(image) == ov.Layout("NHWC")


@pytest.mark.parametrize("top_percent", [0.0, 1.0])
@pytest.mark.parametrize("where", [slice(None), slice(5, 6)], ids=["everywhere", "in a row"])
def test_nan_is_anomalous(top_percent: float, where: slice) -> None:
    post = Postprocess(top_percent=top_percent)
    post.image_threshold, post.pixel_threshold, post.typical = (torch.tensor(x) for x in (1.0, 1.0, 0.0))
    maps = ops.parameter([1, 1, 20, 20], np.float32)
    maps.output(0).get_tensor().set_names({"maps"})
    model = decide(ov.Model([ops.result(maps)], [maps]), post, "native")
    values = np.zeros((1, 1, 20, 20), np.float32)
    assert outputs_of(model, values)["pred_label"] == 0
    values[:, :, where] = np.nan
    assert post(torch.from_numpy(values)).labels == 1
    found = outputs_of(model, values)
    assert found["pred_label"] == 1
    assert np.isnan(found["raw_score"])
    assert np.isnan(found["pred_score"])


def convolutions_before_maps(encoder: Any) -> int:
    """Count the convolutions that the feature maps depend on."""
    network = copy.deepcopy(encoder.network)
    convolutions = [m.weight.requires_grad_() for m in network.modules() if isinstance(m, nn.Conv2d)]
    total = sum(feature.sum() for feature in network(torch.zeros(1, 3, 64, 64)))
    return sum(g is not None for g in torch.autograd.grad(total, convolutions, allow_unused=True))


@pytest.mark.parametrize("name", ["fastflow", "cflow"])
def test_operations_are_named_by_their_part(name: str, pipeline, raw_graph) -> None:
    trained = pipeline(name)
    model = decide(raw_graph(trained), trained.postprocess, "native")
    nodes = [node for node in model.get_ops() if node.get_type_name() != "Result"]
    assert {node.get_friendly_name().partition("/")[0] for node in nodes} == set(PARTS)
    found = dict.fromkeys(PARTS, 0)
    for node in nodes:
        found[node.get_friendly_name().partition("/")[0]] += node.get_type_name() in ("Convolution", "GroupConvolution")
    layers = len(trained.detector.flows)
    steps = sum(len(flow.steps) for flow in trained.detector.flows)
    few = [flow for flow in trained.detector.flows if len(flow.steps[0].steps[2].order) <= Reordering.FEW]
    convolutions = 2 * steps + sum(len(flow.steps) - 1 for flow in few)  # the last permutation is left out
    used = convolutions_before_maps(trained.detector.encoder)
    assert found == {"preprocess": 0, "encoder": used, "whitening": layers, "flow": convolutions, "decision": 0}
    assert len({node.get_friendly_name() for node in nodes}) == len(nodes)


def test_conditions_are_no_tables_of_all_positions(pipeline, raw_graph) -> None:
    trained = pipeline("cflow")
    nodes = raw_graph(trained).get_ops()
    weights = {
        value.get_node().get_friendly_name()
        for node in nodes
        if node.get_type_name() in ("Convolution", "MatMul")
        for value in node.input_values()
    }
    constants = [n for n in nodes if n.get_type_name() == "Constant" and n.get_friendly_name().startswith("flow/")]
    largest = max(n.data.size for n in constants if n.get_friendly_name() not in weights)
    hidden = [flow.steps[0].steps[0].subnet.inner.out_features for flow in trained.detector.flows]
    codes = [flow.code for flow in trained.detector.flows]
    tables = [k * len(code.rows) * len(code.columns) for k, code in zip(hidden, codes, strict=True)]
    assert largest < min(tables)


class Distance(Detector):
    """Detector of another package, with nothing to fold or to whiten: distance of pixels from a learned one."""

    def __init__(self, image_size):
        super().__init__()
        self.centre = nn.Parameter(torch.zeros(3, 1, 1))

    def encode(self, images: Tensor) -> list[Tensor]:
        return [images]

    def loss(self, batch: list[Tensor]) -> Tensor:
        return self.anomaly_map(batch).mean()

    def anomaly_map(self, features: list[Tensor]) -> Tensor:
        return (features[0] - self.centre).square().sum(1, keepdim=True)


class Unconvertible(Distance):
    """Detector that OpenVINO has no operation for."""

    def anomaly_map(self, features: list[Tensor]) -> Tensor:
        return torch.special.bessel_j0(super().anomaly_map(features))


class Untraceable(Distance):
    """Detector whose own code fails when it is traced."""

    def anomaly_map(self, features: list[Tensor]) -> Tensor:
        if torch.jit.is_tracing():
            raise ValueError("Not me.\nSecond line.")
        return super().anomaly_map(features)


def test_a_detector_of_another_package() -> None:
    trained = calibrated(Distance(SIZE), "pad")
    model = decide(build_network(Network(trained, InputOptions())), trained.postprocess, "native")
    image = photo(100, 70, blob=True)[None]
    require_same(outputs_of(model, taken(image)), trained, image)


class TwoMaps(Distance):
    """Detector that scores images by another map than the one it shows."""

    def anomaly_map(self, features: list[Tensor]) -> Tensor:
        shown = super().anomaly_map(features)
        return torch.cat([shown, torch.nn.functional.avg_pool2d(shown, 5, 1, 2)], 1)


@pytest.mark.parametrize("resize", ["stretch", "pad"])
def test_the_first_map_is_shown_and_the_last_one_scores(resize: str) -> None:
    trained = calibrated(TwoMaps(SIZE), resize, smoothing=1.0)
    model = decide(build_network(Network(trained, InputOptions())), trained.postprocess, "native")
    for blob in (False, True):
        image = photo(100, 70, blob=blob)[None]
        said = trained(image)
        assert said.maps.shape[1] == 2
        assert said.scores != trained.postprocess.scores(said.maps[:, :1])
        require_same(outputs_of(model, taken(image)), trained, image)


def test_readers_take_the_score_of_the_graph_or_the_shown_map_alone() -> None:
    trained, image = calibrated(TwoMaps(SIZE)), photo(100, 70, blob=True)[None]
    said, graph = trained(image), build_network(Network(trained, InputOptions()))
    for interface in ("model-api", "anomalib"):
        model = decide(graph.clone(), trained.postprocess, interface)
        score = trained.postprocess.normalise_scores(said.scores)
        np.testing.assert_allclose(outputs_of(model, taken(image))["pred_score"], score, atol=1e-5)
    network = Network(trained, InputOptions(), shown_only=True)
    model = decide(build_network(network), trained.postprocess, "model-api-map")
    np.testing.assert_allclose(outputs_of(model, taken(image))["raw_map"], said.maps[:, :1], atol=1e-5)
    trained.postprocess = by_highest_pixel(trained.postprocess)
    decided = pipeline_predictor(trained, network)(image[0])  # what exports are compared with
    assert decided.raw_score == said.maps[:, :1].max()
    assert decided.label == (decided.raw_score > trained.postprocess.pixel_threshold)


@pytest.mark.parametrize(("kind", "words"), [(Unconvertible, ""), (Untraceable, "Not me")])
def test_a_failed_conversion_is_explained_in_one_sentence(kind: type[Detector], words: str) -> None:
    with pytest.raises(InputError, match=f"This model cannot be converted to OpenVINO: .*{words}") as caught:
        build_network(Network(Pipeline(kind(SIZE)), InputOptions()))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300
    assert "Second" not in str(caught.value)
