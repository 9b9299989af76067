"""Convolutions in INT8 by NNCF; what must stay in floating point is left out by rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from anomalib_flows.deployment.storage import WEIGHTED
from anomalib_flows.runtime.parts import part_of
from anomalib_flows.types import require

Image = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class QuantizationOptions:
    """How a model becomes INT8.

    Args:
        images: How many training images activations are measured on, at most.
        preset: ``performance`` quantises activations symmetrically; ``mixed`` does not, which suits others than ReLU.
        model_type: ``transformer`` for encoders of that kind.
        smooth_quant: Strength, from 0 to 1, by which outliers move from a transformer's activations into
            weights; -1 for none.
        accuracy_control: Whether layers return to floating point until scores are as good as they have to be.
        max_drop: How much of the image AUROC may be lost under accuracy control.
    """

    images: int = 300
    preset: Literal["performance", "mixed"] = "mixed"
    model_type: Literal["transformer"] | None = None
    smooth_quant: float | None = None
    accuracy_control: bool = False
    max_drop: float = 0.01

    def __post_init__(self) -> None:
        """Refuse numbers of no use when they are given."""
        require(self.images >= 1, "--int8.images", self.images, "at least 1")
        require(0 <= self.max_drop <= 1, "--int8.max_drop", self.max_drop, "from 0 to 1")


def kept(network: ov.Model) -> list[str]:
    """Names of the operations that stay in floating point.

    Whitening multiplies what it is given by up to ten, rounding included; exponentials and sums of a likelihood
    span more than 256 levels; pixels and scores are few. What is left are the encoder and, of a flow, the layers of
    its networks.
    """

    def stays(node: ov.Node) -> bool:
        part = part_of(node.get_friendly_name())
        return part in ("preprocess", "whitening", "decision") or (
            part == "flow" and node.get_type_name() not in WEIGHTED
        )

    ignored = ("Constant", "Parameter", "Result")
    return [n.get_friendly_name() for n in network.get_ops() if n.get_type_name() not in ignored and stays(n)]


def quantize(network: ov.Model, images: Sequence[Any], options: QuantizationOptions) -> ov.Model:
    """Quantise a graph that gives raw maps."""
    import nncf

    data = nncf.Dataset(images)
    model: ov.Model = nncf.quantize(
        network,
        data,
        preset=nncf.QuantizationPreset(options.preset),
        subset_size=len(images),
        fast_bias_correction=True,
        model_type=nncf.ModelType.TRANSFORMER if options.model_type else None,
        ignored_scope=nncf.IgnoredScope(names=kept(network), validate=False),
    )
    return model
