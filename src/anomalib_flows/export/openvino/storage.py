"""Weights in half precision, which halve the file and are computed with like any others."""

from __future__ import annotations

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from anomalib_flows.runtime.ports import part_of

CONVOLUTIONS = ("Convolution", "GroupConvolution")

LARGEST = float(np.finfo(np.float16).max)


def compress_to_fp16(model: ov.Model) -> None:
    """Store the weights of layers as float16, in place, unless their values exceed its range.

    All other constants, such as thresholds, means and positional codes, stay in float32: they are small, and decisions
    depend on them.
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
    """Return whether an operation multiplies by learned weights, which take most of the file and of the time.

    Matrix products are layers in an encoder; those of a flow upsample its likelihoods.
    """
    kind, part = node.get_type_name(), part_of(node.get_friendly_name())
    return (kind in CONVOLUTIONS and part in ("encoder", "whitening", "flow")) or (
        kind == "MatMul" and part == "encoder"
    )


def weights_of(node: ov.Node) -> list[ov.Node]:
    """Return the float constants that a layer multiplies by."""
    if not is_layer(node):
        return []
    sources = [value.get_node() for value in node.input_values()]
    return [s for s in sources if s.get_type_name() == "Constant" and s.get_element_type() == ov.Type.f32]
