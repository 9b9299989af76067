"""Quantise the layers of a graph to INT8 with NNCF; rules keep sensitive operations in floating point."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import openvino as ov

from anomalib_flows.core.errors import InputError
from anomalib_flows.export.openvino.graph import CONVOLUTIONS, is_layer, weights_of
from anomalib_flows.export.options import QuantizationOptions
from anomalib_flows.runtime.ports import part_of

FEW = 32
"""A convolution of the encoder that sums fewer products stays in floating point."""
ACTIVATIONS = ("Clamp", "Relu", "Swish", "HSwish", "Gelu", "Multiply")
"""Activations; squeeze-and-excitation multiplies."""

Item = tuple[Any, int]
"""An image, before it is converted to the input of a graph, and its label."""

Metric = Callable[[ov.CompiledModel, Iterable[Item]], float]
"""Function that evaluates a compiled graph on labelled images; higher is better."""


@dataclass(frozen=True)
class AccuracyControl:
    """Return layers to floating point until a metric on labelled images is restored."""

    items: Sequence[Item]
    metric: Metric


def kept(network: ov.Model) -> list[str]:
    """Return the names of the operations that stay in floating point.

    Only layers with learned weights are quantised, those of the encoder and of the flow's networks. All else gains
    little or no time in INT8. Errors of sums over the blocks of an encoder add up. Whitening multiplies its input,
    rounding errors included, by up to ten. Exponentials, logarithms and sums of a likelihood span more than 256 levels.
    All steps of a flow receive what a permutation passes on. Pixels and scores are few. Rounding errors of a
    convolution that sums few products, such as a depthwise one, do not average out. Layers that follow a convolution
    without an activation between them stay: nothing bounds their input, so the steps of INT8 are wide. So do linear
    projections after a depthwise convolution, whose errors add up over the blocks.
    """
    ignored = ("Constant", "Parameter", "Result")
    return [n.get_friendly_name() for n in network.get_ops() if n.get_type_name() not in ignored and _stays(n)]


def _stays(node: ov.Node) -> bool:
    part = part_of(node.get_friendly_name())
    if part not in ("encoder", "flow") or not is_layer(node) or not weights_of(node):
        return True
    if part == "flow":
        return all(permutes(weights) for weights in weights_of(node))
    return depthwise(node) or sums_few(node) or projects(node) or unbounded(node)


def depthwise(node: ov.Node) -> bool:
    """Return whether a convolution has one input and one output channel in each group."""
    return node.get_type_name() == "GroupConvolution" and any(tuple(w.shape)[1:3] == (1, 1) for w in weights_of(node))


def sums_few(node: ov.Node) -> bool:
    """Return whether each output of a convolution is a sum of few products."""
    return any(math.prod(weights.shape[-3:]) < FEW for weights in weights_of(node))


def projects(node: ov.Node) -> bool:
    """Return whether a pointwise convolution follows a depthwise one, and no activation follows itself."""
    if not any(tuple(w.shape)[-2:] == (1, 1) for w in weights_of(node)) or activates(node):
        return False
    source = node.input_value(0).get_node()
    while source.get_type_name() in ACTIVATIONS or adds_constant(source):
        source = source.input_value(0).get_node()
    return depthwise(source)


def unbounded(node: ov.Node) -> bool:
    """Return whether a layer receives the output of a convolution without an activation, or a sum with one."""
    source = node.input_value(0).get_node()
    summed = source.get_type_name() == "Add" and not adds_constant(source)
    parts = [value.get_node() for value in source.input_values()] if summed else [source]
    return any(before_bias(part).get_type_name() in CONVOLUTIONS for part in parts)


def before_bias(node: ov.Node) -> ov.Node:
    """Return the operation that a bias is added to, or an operation without a bias itself."""
    return node.input_value(0).get_node() if adds_constant(node) else node


def activates(node: ov.Node) -> bool:
    """Return whether an activation follows a layer, after its bias."""
    users = [one.get_node() for one in node.output(0).get_target_inputs()]
    return any(u.get_type_name() in ACTIVATIONS or (adds_constant(u) and activates(u)) for u in users)


def adds_constant(node: ov.Node) -> bool:
    """Return whether an operation adds a bias."""
    return node.get_type_name() == "Add" and str(node.input_value(1).get_node().get_type_name()) == "Constant"


def permutes(weights: ov.Node) -> bool:
    """Return whether weights (C, C, 1, 1) have a single one in each row and column, and zeros elsewhere."""
    values = weights.data
    ones = [values.sum(axis=axis) for axis in (0, 1)] if values.shape[2:] == (1, 1) else []
    return bool(ones) and bool(np.isin(values, (0, 1)).all()) and all(bool((of == 1).all()) for of in ones)


def quantize(
    network: ov.Model,
    images: Sequence[Any],
    options: QuantizationOptions,
    read: Callable[[Any], Any] = lambda image: image,
    control: AccuracyControl | None = None,
) -> ov.Model:
    """Quantise a graph that returns raw maps.

    The ranges of activations are those of the images, outliers included: after whitening, the error of a clipped
    outlier grows.

    Args:
        network: The graph, which may be changed.
        images: Images that activations are measured on.
        options: How to quantise.
        read: Converts one of the images to the input of the graph when it is needed.
        control: Accuracy control, if any.

    Raises:
        InputError: If NNCF is not installed.
    """
    try:
        import nncf
    except ImportError as error:
        raise InputError("`precision` int8 needs NNCF: run pip install nncf.") from error
    nncf.set_log_level(logging.ERROR)
    arguments: dict[str, Any] = {
        "preset": nncf.QuantizationPreset(options.preset),
        "subset_size": len(images),
        "model_type": nncf.ModelType.TRANSFORMER if options.model_type else None,
        "ignored_scope": nncf.IgnoredScope(names=kept(network), validate=False),
    }
    data = nncf.Dataset(images, read)
    if control is None:
        return nncf.quantize(network, data, advanced_parameters=_advanced(options), **arguments)
    metric = control.metric
    return nncf.quantize_with_accuracy_control(
        network,
        data,
        nncf.Dataset(control.items, lambda item: read(item[0])),
        lambda model, items: (metric(model, items), None),
        max_drop=options.max_drop,
        advanced_quantization_parameters=_advanced(options),
        **arguments,
    )


def _advanced(options: QuantizationOptions) -> Any:
    """Return what NNCF calls advanced parameters."""
    from nncf.quantization import advanced_parameters as advanced
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    found = advanced.AdvancedQuantizationParameters(
        # Weights take half of the range, or sums of products overflow on processors without VNNI.
        overflow_fix=advanced.OverflowFix.ENABLE,
        activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX,
    )
    if options.smooth_quant is not None:
        strength = options.smooth_quant
        found.smooth_quant_alphas = advanced.AdvancedSmoothQuantParameters(convolution=strength, matmul=strength)
    return found
