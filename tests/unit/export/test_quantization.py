"""INT8 is for the encoder and the layers of a flow's networks alone."""

from pathlib import Path

import numpy as np
import openvino as ov
import pytest
import torch
from openvino import opset13
from scipy.stats import spearmanr
from tiny_pipelines import ARGUMENTS, SIZE, calibrated, photo

from anomalib_flows.export.network import Network
from anomalib_flows.export.openvino.graph import build_network, weights_of
from anomalib_flows.export.openvino.quantization import kept, permutes, quantize
from anomalib_flows.export.options import InputOptions, QuantizationOptions
from anomalib_flows.models.fastflow import FastFlow


def taken(seed: int, blob: bool = False) -> np.ndarray:
    return photo(70, 66, seed, blob).permute(1, 2, 0).numpy()[None].copy()


@pytest.fixture(scope="module")
def quantized(pipeline, raw_graph) -> ov.Model:
    return quantize(raw_graph(pipeline()), [taken(seed) for seed in range(12)], QuantizationOptions())


def is_layer(node: ov.Node) -> bool:
    """Whether an operation is a layer of the encoder or of a flow's networks."""
    part, _, name = node.get_friendly_name().partition("/")
    of_networks = part == "encoder" or (part == "flow" and ".permutation/" not in name)
    return of_networks and node.get_type_name() in ("Convolution", "GroupConvolution")


@pytest.mark.parametrize("name", ["fastflow", "cflow"])
def test_what_stays_in_floating_point(name: str, pipeline, raw_graph) -> None:
    graph = raw_graph(pipeline(name))
    names, nodes = set(kept(graph)), graph.get_ops()
    sensitive = [
        node.get_friendly_name()
        for node in nodes
        if node.get_type_name()
        in ("Exp", "Log", "Tanh", "MatMul", "Interpolate", "Power", "ReduceSum", "ReduceMean", "TopK")
        or (node.get_type_name() == "Convolution" and not is_layer(node))
    ]
    assert len(sensitive) > 10
    assert any(".permutation/" in called for called in sensitive)
    assert set(sensitive) <= names
    large = [node for node in nodes if is_layer(node) and int(np.prod(weights_of(node)[0].shape[-3:])) >= 32]
    assert len(large) > 10
    assert not names & {node.get_friendly_name() for node in large}


Shapes = list[tuple[int, ...]]


def kept_layers(detector: FastFlow, raw_graph) -> tuple[Shapes, Shapes]:
    """Return the shapes of the weights of an encoder's layers that stay in floating point, and of the others."""
    graph = raw_graph(calibrated(detector))
    names, shapes = kept(graph), ([], [])
    for node in graph.get_ordered_ops():
        if node.get_friendly_name().startswith("encoder/") and is_layer(node):
            shapes[node.get_friendly_name() not in names].append(tuple(weights_of(node)[0].shape))
    return shapes


@torch.no_grad()
def with_biases(detector: FastFlow) -> FastFlow:
    """Set random biases of batch norms, as trained weights have; a graph omits those that are 0."""
    for module in detector.encoder.network.modules():
        if getattr(module, "running_mean", None) is not None:
            module.running_mean.uniform_(-0.1, 0.1)
            module.bias.uniform_(-0.1, 0.1)
    return detector


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "mobilenetv2_100"])
def test_inverted_bottlenecks_stay_in_floating_point(name: str, biased: bool, raw_graph) -> None:
    detector = FastFlow(SIZE, name, weights="random", steps=1, layers=[2])
    stay, quantized = kept_layers(with_biases(detector) if biased else detector, raw_graph)
    assert len(stay) > 10
    assert not quantized


def test_layers_after_layers_without_an_activation_stay_in_floating_point(raw_graph) -> None:
    detector = FastFlow(SIZE, "mobilenetv4_conv_small", weights="random", steps=1, layers=[3])
    stay, _ = kept_layers(with_biases(detector), raw_graph)
    assert (192, 64, 1, 1) in stay, "an expansion after a depthwise convolution"


def test_convolutions_of_residual_blocks_are_quantized(raw_graph) -> None:
    stay, quantized = kept_layers(with_biases(FastFlow(SIZE, "resnet18", weights="random", layers=[1, 2])), raw_graph)
    assert len(quantized) >= 9
    assert not stay


def test_products_of_tokens_stay_in_floating_point(raw_graph) -> None:
    """They have no learned weights. timm may compute attention with or without such products."""
    graph = raw_graph(calibrated(FastFlow(SIZE, "test_vit", weights="random", steps=1)))
    names = set(kept(graph))
    products = [node for node in graph.get_ops() if node.get_type_name() in ("MatMul", "ScaledDotProductAttention")]
    encoders = [node for node in products if node.get_friendly_name().startswith("encoder/")]
    assert {bool(weights_of(node)) for node in encoders} == {True, False}
    assert {node.get_friendly_name() for node in encoders if not weights_of(node)} <= names
    assert not {node.get_friendly_name() for node in encoders if weights_of(node)} & names


@pytest.mark.parametrize(("name", "kind"), [("resnet18", "Add"), ("efficientnet_b0", "Multiply")])
def test_sums_and_products_of_an_encoder_stay_in_floating_point(name: str, kind: str, raw_graph) -> None:
    """They gain no time in INT8, and their errors add up over the blocks."""
    model = raw_graph(calibrated(FastFlow(SIZE, name, weights="random", steps=1, layers=[2])))
    quantized = quantize(model, [taken(0)], QuantizationOptions())
    inputs = [
        value.get_node().get_type_name()
        for node in quantized.get_ops()
        if node.get_friendly_name().startswith("encoder/") and node.get_type_name() == kind
        for value in node.input_values()
    ]
    assert inputs
    assert "FakeQuantize" not in inputs


def test_large_depthwise_convolutions_stay_in_floating_point(raw_graph) -> None:
    stay, quantized = kept_layers(FastFlow(SIZE, "test_convnext", weights="random", steps=1, layers=[3]), raw_graph)
    assert [shape for shape in stay if shape[-1] == 7]
    assert not [shape for shape in quantized if len(shape) == 5]


def test_grouped_and_activated_convolutions_are_quantized(raw_graph) -> None:
    """A layer after a grouped convolution that is not depthwise, and one whose output passes an activation."""
    _, resnext = kept_layers(FastFlow(SIZE, "resnext50_32x4d", weights="random", steps=1, layers=[1]), raw_graph)
    assert (256, 128, 1, 1) in resnext
    _, mobilenet = kept_layers(FastFlow(SIZE, "mobilenetv1_100", weights="random", steps=1, layers=[1]), raw_graph)
    assert (128, 64, 1, 1) in mobilenet


def test_weights_use_half_of_their_range(quantized: ov.Model) -> None:
    """Otherwise sums of products overflow on processors without VNNI."""
    values = [
        n.data for n in quantized.get_ops() if n.get_type_name() == "Constant" and n.get_element_type() == ov.Type.i8
    ]
    assert values
    assert max(int(np.abs(value.astype(int)).max()) for value in values) <= 64


def test_layers_are_quantized_and_nothing_else_is(quantized: ov.Model, pipeline, raw_graph) -> None:
    stay = set(kept(raw_graph(pipeline())))
    fakes = [node for node in quantized.get_ops() if node.get_type_name() == "FakeQuantize"]
    assert len(fakes) > 10
    spoilt, layers = set(), set()
    for fake in fakes:
        for user in fake.output(0).get_target_inputs():
            called = user.get_node().get_friendly_name()
            (spoilt if called in stay else layers).add(called)
    assert not spoilt
    assert {name.partition("/")[0] for name in layers} == {"encoder", "flow"}


def test_images_are_ranked_alike(quantized: ov.Model, pipeline, raw_graph) -> None:
    images = [taken(100 + seed, blob=seed % 2 == 1) for seed in range(16)]

    def highest(model: ov.Model) -> list[float]:
        compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        return [float(compiled({0: image})[0][:, -1].max()) for image in images]

    true, found = highest(raw_graph(pipeline())), highest(quantized)
    assert spearmanr(true, found).statistic > 0.8
    assert np.corrcoef(true, found)[0, 1] > 0.9
    assert found != true


def test_int8_of_256_pixels_is_computed_in_what_the_device_chooses(tmp_path: Path) -> None:
    """OpenVINO 2026.4 compiled no file with a product of matrices that normalisation and quantisation followed."""
    core = ov.Core()
    if "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this processor has no bfloat16")
    torch.manual_seed(0)
    trained = calibrated(FastFlow((256, 256), **ARGUMENTS["fastflow"], std=(0.2, 0.3, 0.4)))
    images = [photo(270, 260, seed).permute(1, 2, 0).numpy()[None].copy() for seed in range(2)]
    quantized = quantize(build_network(Network(trained, InputOptions())), images, QuantizationOptions())
    ov.save_model(quantized, tmp_path / "model.xml", compress_to_fp16=False)
    model = core.compile_model(tmp_path / "model.xml", "CPU")
    assert model.get_property("INFERENCE_PRECISION_HINT") == ov.Type.bf16
    maps = model({0: images[0]})[0]
    assert maps.shape == (1, 2, 256, 256)
    assert np.isfinite(maps).all()
    assert maps.std() > 0


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        (np.eye(3)[[2, 0, 1]][:, :, None, None], True),
        (np.zeros((3, 3, 1, 1)), False),
        (np.eye(3)[[0, 0, 1]][:, :, None, None], False),
        (2 * np.eye(3)[:, :, None, None], False),
        (np.eye(3)[:, :2, None, None], False),
        (np.pad(np.eye(3)[:, :, None, None], ((0, 0), (0, 0), (1, 1), (1, 1))), False),
    ],
)
def test_what_is_a_permutation(weights: np.ndarray, expected: bool) -> None:
    assert permutes(opset13.constant(weights.astype(np.float32))) == expected
