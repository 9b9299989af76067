"""Half precision is for weights alone."""

import numpy as np
import openvino as ov
from openvino import opset13 as ops
from tiny_pipelines import photo

from anomalib_flows.export.openvino.graph import compress_to_fp16, decide


def constants(model: ov.Model, kind: ov.Type) -> dict[str, np.ndarray]:
    """Constants of a type, by name, but for scalars without a name of their own."""
    found = [n for n in model.get_ops() if n.get_type_name() == "Constant" and n.get_element_type() == kind]
    return {n.get_friendly_name(): n.data for n in found}


def product(weight: np.ndarray) -> ov.Model:
    """A layer with a bias."""
    x = ops.parameter([1, weight.shape[0]], np.float32)
    layer = ops.matmul(x, ops.constant(weight, name="weight"), False, False, name="encoder/product")
    return ov.Model([ops.result(ops.add(layer, ops.constant(np.full(2, 0.1, np.float32), name="bias")))], [x], "layer")


def test_weights_become_float16_and_nothing_else_does() -> None:
    model = product(np.array([[1.0, 2.0], [0.1, -3.0], [0.0, 1e-3]], np.float32))
    compress_to_fp16(model)
    assert {name: values.tolist() for name, values in constants(model, ov.Type.f16).items()} == {
        "weight": np.float16([[1.0, 2.0], [0.1, -3.0], [0.0, 1e-3]]).tolist()
    }
    assert list(constants(model, ov.Type.f32)) == ["bias"]
    assert model.output(0).get_element_type() == ov.Type.f32


def test_products_of_a_flow_are_no_layers() -> None:
    x, of_rows = ops.parameter([2, 1], np.float32), ops.constant(np.ones((4, 2), np.float32), name="rows")
    model = ov.Model([ops.result(ops.matmul(of_rows, x, False, False, name="flow/upsampling"))], [x], "map")
    compress_to_fp16(model)
    assert not constants(model, ov.Type.f16)


def test_values_beyond_float16_stay() -> None:
    weight = np.array([[1.0, 2.0], [65504.0, -1e6]], np.float32)
    model = product(weight)
    compress_to_fp16(model)
    assert not constants(model, ov.Type.f16)
    np.testing.assert_array_equal(constants(model, ov.Type.f32)["weight"], weight)
    model = product(weight.clip(-65504, 65504))
    compress_to_fp16(model)
    assert np.isfinite(constants(model, ov.Type.f16)["weight"]).all()


def test_a_weight_of_two_layers_is_stored_once() -> None:
    x, weight = ops.parameter([1, 2], np.float32), ops.constant(np.eye(2, dtype=np.float32), name="weight")
    once = ops.matmul(x, weight, False, False, name="encoder/1")
    twice = ops.matmul(once, weight, False, False, name="encoder/2")
    model = ov.Model([ops.result(twice)], [x], "layers")
    compress_to_fp16(model)
    assert list(constants(model, ov.Type.f16)) == ["weight"]
    assert sum(node.get_type_name() == "Constant" for node in model.get_ops()) == 1


def test_of_a_pipeline_constants_that_decide_stay(pipeline, raw_graph, tmp_path) -> None:
    trained = pipeline()
    graph = raw_graph(trained)
    compress_to_fp16(graph)
    model = decide(graph, trained.postprocess, "native")
    half, whole = constants(model, ov.Type.f16), constants(model, ov.Type.f32)
    assert {name.partition("/")[0] for name in half} == {"encoder", "whitening", "flow"}

    def kept(values: np.ndarray) -> bool:
        """Whether a constant has these values, up to a factor, to more digits than float16 has."""
        flat = [v.ravel() for v in whole.values() if v.size == values.size]
        return any(np.allclose(v, values.ravel() * (v.sum() / values.sum()), rtol=1e-6, atol=1e-7) for v in flat)

    post, detector = trained.postprocess, trained.detector
    single = [float(v.ravel()[0]) for v in whole.values() if v.size == 1]
    assert {float(post.image_threshold), float(post.pixel_threshold)} <= set(single)
    assert all(kept(scale.factor.numpy()) for scale in detector.scales)
    assert all(kept(norm.mean.numpy()) for norm in detector.norms)

    file = tmp_path / "model.xml"
    ov.save_model(model, file, compress_to_fp16=False)
    weights = sum(p.numel() for p in trained.detector.parameters())
    assert file.with_suffix(".bin").stat().st_size < 3 * weights
    compiled = ov.Core().compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    image = photo(80, 70, blob=True)[None]
    score = compiled({0: image.permute(0, 2, 3, 1).contiguous().numpy()})["raw_score"]
    np.testing.assert_allclose(score, trained(image).scores, atol=5e-3)
