"""Input, outputs and parts of an exported model: names, shapes and types."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.images import Pixels
from anomalib_flows.core.types import AxisOrder, ImageSize

INPUT = "image"
OUTPUTS = ("pred_score", "pred_label", "anomaly_map", "pred_mask", "raw_score")
"""Outputs of the interface ``native``."""

ANY = -1
"""Length of a dynamic axis."""

PARTS = ("preprocess", "encoder", "whitening", "flow", "decision")
"""Parts of a model. The name of each operation begins with the name of its part."""


def part_of(*names: str) -> str:
    """Return the part that the first name with a part belongs to, or ``decision`` if no name has one.

    Args:
        names: Name of an operation, or names of the operations that a device fused into one.

    Example:
        >>> part_of("encoder/conv1"), part_of("Multiply_7", "flow/add"), part_of("Result_7")
        ('encoder', 'flow', 'decision')
    """
    beginnings = (name.partition("/")[0] for name in names)
    return next((part for part in beginnings if part in PARTS), "decision")


def lengths(port: ov.Output) -> list[int]:
    """Return the shape of a value of a model, with ``ANY`` for dynamic axes."""
    return [ANY if axis.is_dynamic else axis.get_length() for axis in port.get_partial_shape()]


def spatial_size(shape: Sequence[int], order: AxisOrder) -> ImageSize:
    """Return height and width in the shape of a batch of images.

    Example:
        >>> spatial_size((1, 20, 30, 3), "NHWC"), spatial_size((1, 3, -1, -1), "NCHW")
        ((20, 30), (-1, -1))
    """
    return (shape[1], shape[2]) if order == "NHWC" else (shape[2], shape[3])


@dataclass(frozen=True)
class ImageInput:
    """Images that a model accepts.

    Args:
        shape: (N, h, w, 3) or (N, 3, h, w), with ``ANY`` for dynamic axes.
        dtype: Type of the values.
        order: Order of the axes.
    """

    shape: tuple[int, ...]
    dtype: npt.DTypeLike
    order: AxisOrder

    @classmethod
    def of(cls, network: ov.Model, order: AxisOrder) -> ImageInput:
        """Return the input of a model, whose model card contains the order of the axes."""
        port = network.input(0)
        return cls(tuple(lengths(port)), port.get_element_type().to_dtype(), order)

    @property
    def batch(self) -> int:
        """Number of images in a batch, or ``ANY``."""
        return self.shape[0]

    @property
    def size(self) -> ImageSize:
        """Height and width, each a number or ``ANY``."""
        return spatial_size(self.shape, self.order)

    def require_size(self, size: Sequence[int], name: object = "An image") -> None:
        """Raise an InputError if the model does not accept images of a size."""
        if not all(expected in (ANY, given) for expected, given in zip(self.size, size, strict=True)):
            wanted = " x ".join("any" if expected == ANY else str(expected) for expected in self.size)
            raise InputError(
                f"{name} is {size[0]} x {size[1]} pixels high and wide, but the model accepts {wanted}: give images of "
                "that size, or export the model for any size."
            )

    def arrange(self, image: Pixels, name: object = "An image") -> npt.NDArray[Any]:
        """Convert an image (h, w, 3) to the input of the model; it is repeated if the batch has a fixed size."""
        self.require_size(image.shape[:2], name)
        axes = image if self.order == "NHWC" else image.transpose(2, 0, 1)
        repeated = np.broadcast_to(axes, (max(1, self.batch), *axes.shape))
        return np.ascontiguousarray(repeated, self.dtype)
