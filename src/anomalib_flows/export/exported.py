"""What writing a file gives back, whatever its format."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from anomalib_flows.export.parity import Judge
from anomalib_flows.models.postprocess import Postprocess

Format = Literal["openvino", "onnx", "torch"]

INFERENCE_PRECISION = "f32"
"""What exported models are computed in, whatever the precision of their weights: else some CPUs take bfloat16."""


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What was written.

    Args:
        judges: Ways to ask it, by what is computed in; the first is what it is meant for, the second what the device
            would choose.
        sizes: Bytes of each part's constants; empty where parts are not told apart.
        seconds: How long converting took.
        postprocess: The constants that it decides by.
        quantization: What there is to say about how it became INT8.
    """

    judges: dict[str, Judge]
    sizes: dict[str, int]
    seconds: float
    postprocess: Postprocess
    quantization: dict[str, Any] = field(default_factory=dict)
