"""Convolutions in INT8 by NNCF; what must stay in floating point is left out by rule."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import openvino as ov

from anomalib_flows.core.errors import InputError
from anomalib_flows.export.openvino.storage import is_layer, weights_of
from anomalib_flows.export.options import QuantizationOptions
from anomalib_flows.runtime.parts import part_of

Item = tuple[Any, int]
"""An image, as it is to be read, and its label."""

Metric = Callable[[ov.CompiledModel, Iterable[Item]], float]
"""How good a compiled graph is on labelled images; higher is better."""


def kept(network: ov.Model) -> list[str]:
    """Names of the operations that stay in floating point.

    Whitening multiplies what it is given by up to ten, rounding included; exponentials and sums of a likelihood
    span more than 256 levels; what a permutation passes on goes through all steps; pixels and scores are few. What is
    left are the encoder and, of a flow, the layers of its networks.
    """
    ignored = ("Constant", "Parameter", "Result")
    return [n.get_friendly_name() for n in network.get_ops() if n.get_type_name() not in ignored and _stays(n)]


def _stays(node: ov.Node) -> bool:
    part = part_of(node.get_friendly_name())
    if part == "flow":
        return not is_layer(node) or all(permutes(weights) for weights in weights_of(node))
    return part in ("preprocess", "whitening", "decision")


def permutes(weights: ov.Node) -> bool:
    """Whether weights (C, C, 1, 1) have a single one in each row and column, and else zeros."""
    values = weights.data
    ones = [values.sum(axis=axis) for axis in (0, 1)] if values.shape[2:] == (1, 1) else []
    return bool(ones) and bool(np.isin(values, (0, 1)).all()) and all(bool((of == 1).all()) for of in ones)


def as_it_is(image: Any) -> Any:
    """Return what a graph takes already."""
    return image


def quantize(
    network: ov.Model,
    images: Sequence[Any],
    options: QuantizationOptions,
    read: Callable[[Any], Any] = as_it_is,
    items: Sequence[Item] = (),
    metric: Metric | None = None,
) -> ov.Model:
    """Quantise a graph that gives raw maps.

    Ranges of activations are those that were seen, outliers included: where features are whitened, a clipped one is
    an error that grows.

    Args:
        network: The graph, which may be changed.
        images: Images that activations are measured on.
        options: How to quantise.
        read: Turns one of them into what the graph takes, when its turn comes.
        items: Labelled images for accuracy control.
        metric: What accuracy control keeps up.

    Raises:
        InputError: If NNCF is not installed.
    """
    try:
        import nncf
    except ImportError as error:
        raise InputError("--precision int8 takes NNCF: run pip install 'anomalib-flows[openvino]'.") from error
    nncf.set_log_level(logging.ERROR)
    arguments: dict[str, Any] = {
        "preset": nncf.QuantizationPreset(options.preset),
        "subset_size": len(images),
        "model_type": nncf.ModelType.TRANSFORMER if options.model_type else None,
        "ignored_scope": nncf.IgnoredScope(names=kept(network), validate=False),
    }
    data = nncf.Dataset(images, read)
    if options.accuracy_control and metric is not None:
        return nncf.quantize_with_accuracy_control(
            network,
            data,
            nncf.Dataset(items, lambda item: read(item[0])),
            lambda model, items: (metric(model, items), None),
            max_drop=options.max_drop,
            advanced_quantization_parameters=_advanced(options),
            **arguments,
        )
    return nncf.quantize(network, data, advanced_parameters=_advanced(options), **arguments)


def _advanced(options: QuantizationOptions) -> Any:
    """Parameters that NNCF calls advanced."""
    from nncf.quantization import advanced_parameters as advanced
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    found = advanced.AdvancedQuantizationParameters(
        activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX
    )
    if options.smooth_quant is not None:
        strength = options.smooth_quant
        found.smooth_quant_alphas = advanced.AdvancedSmoothQuantParameters(convolution=strength, matmul=strength)
    return found
