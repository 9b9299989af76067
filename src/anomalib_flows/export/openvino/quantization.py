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
"""A convolution of the encoder that sums over fewer products stays in floating point."""
BETWEEN = ("Add", "Clamp", "Relu", "Swish", "HSwish")
"""Operations between a depthwise convolution and the projection that follows."""

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

    Only layers of the encoder and of the flow's networks are quantised. Whitening multiplies its input, rounding errors
    included, by up to ten. Exponentials and sums of a likelihood span more than 256 levels. All steps of a flow receive
    what a permutation passes on. Pixels and scores are few. Rounding errors of a convolution do not average out if it
    sums over few values, such as a depthwise one. Those of a projection after a depthwise convolution add up over all
    blocks, since its output passes no activation.
    """
    ignored = ("Constant", "Parameter", "Result")
    return [n.get_friendly_name() for n in network.get_ops() if n.get_type_name() not in ignored and _stays(n)]


def _stays(node: ov.Node) -> bool:
    part = part_of(node.get_friendly_name())
    if part == "flow":
        return not is_layer(node) or all(permutes(weights) for weights in weights_of(node))
    if part == "encoder":
        return node.get_type_name() in CONVOLUTIONS and (summands(node) < FEW or projects(node))
    return part in ("preprocess", "whitening", "decision")


def summands(convolution: ov.Node) -> int:
    """Return the number of products that each output of a convolution is the sum of."""
    return min((math.prod(weights.shape[-3:]) for weights in weights_of(convolution)), default=0)


def projects(convolution: ov.Node) -> bool:
    """Return whether a convolution follows a depthwise one, with at most a bias and an activation between them."""
    node = convolution.input_value(0).get_node()
    while node.get_type_name() in BETWEEN:
        node = node.input_value(0).get_node()
    return node.get_type_name() == "GroupConvolution"


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
