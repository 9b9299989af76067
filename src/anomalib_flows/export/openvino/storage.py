"""Weights in half precision: half the file, computed with as any others."""

from __future__ import annotations

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from anomalib_flows.runtime.parts import part_of

CONVOLUTIONS = ("Convolution", "GroupConvolution")

LARGEST = float(np.finfo(np.float16).max)


def compress_to_fp16(model: ov.Model) -> None:
    """Store the weights of layers as float16, where that holds them.

    Everything else, such as thresholds, means and what is known of positions, stays in float32: it is small, and
    decisions depend on it.
    """
    for constant in {id(c): c for node in model.get_ops() for c in weights_of(node)}.values():
        values = constant.data
        if np.abs(values).max(initial=0.0) <= LARGEST:
            name, users = constant.get_friendly_name(), constant.output(0).get_target_inputs()
            half = ops.constant(values.astype(np.float16), dtype=ov.Type.f16, name=name)
            whole = ops.convert(half, "f32", name=f"{name}/decompressed")
            whole.get_rt_info()["decompression_0"] = ""
            for user in users:
                user.replace_source_output(whole.output(0))


def is_layer(node: ov.Node) -> bool:
    """Whether an operation multiplies by weights that were learned: nearly all of the file, and of the time.

    Products of matrices are layers in an encoder; those of a flow upsample its likelihoods.
    """
    kind, part = node.get_type_name(), part_of(node.get_friendly_name())
    return (kind in CONVOLUTIONS and part in ("encoder", "whitening", "flow")) or (
        kind == "MatMul" and part == "encoder"
    )


def weights_of(node: ov.Node) -> list[ov.Node]:
    """Float constants that a layer multiplies by."""
    if not is_layer(node):
        return []
    sources = [value.get_node() for value in node.input_values()]
    return [s for s in sources if s.get_type_name() == "Constant" and s.get_element_type() == ov.Type.f32]
