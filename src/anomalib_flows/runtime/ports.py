"""What an exported model takes and gives: the names and shapes of its input and its outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import openvino as ov

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.images import Pixels
from anomalib_flows.core.types import ImageSize

INPUT = "image"
OUTPUTS = ("pred_score", "pred_label", "anomaly_map", "pred_mask", "raw_score")
"""What the interface ``native`` gives."""

ANY = -1
"""Stands for a length that may vary."""

Layout = Literal["NHWC", "NCHW"]


def lengths(port: ov.Output) -> list[int]:
    """Shape of an input, an output or another value, with ``ANY`` for what may vary."""
    return [ANY if axis.is_dynamic else axis.get_length() for axis in port.get_partial_shape()]


def spatial_size(shape: Sequence[int], layout: Layout) -> ImageSize:
    """Height and width in the shape of images.

    Example:
        >>> spatial_size((1, 20, 30, 3), "NHWC"), spatial_size((1, 3, -1, -1), "NCHW")
        ((20, 30), (-1, -1))
    """
    return (shape[1], shape[2]) if layout == "NHWC" else (shape[2], shape[3])


@dataclass(frozen=True)
class ImageInput:
    """The images that a model takes.

    Args:
        shape: (N, h, w, 3) or (N, 3, h, w), with ``ANY`` for what may vary.
        dtype: Type of the values.
        layout: Order of the axes.
    """

    shape: tuple[int, ...]
    dtype: npt.DTypeLike
    layout: Layout

    @classmethod
    def of(cls, network: ov.Model, layout: Layout) -> ImageInput:
        """Read what a model takes; the order of the axes stands on its card."""
        port = network.input(0)
        return cls(tuple(lengths(port)), port.get_element_type().to_dtype(), layout)

    @property
    def batch(self) -> int:
        """Images at once, or ``ANY``."""
        return self.shape[0]

    @property
    def size(self) -> ImageSize:
        """Height and width, each of them a number or ``ANY``."""
        return spatial_size(self.shape, self.layout)

    def require_size(self, size: Sequence[int], name: object = "An image") -> None:
        """Refuse an image whose height and width the model does not take.

        Raises:
            InputError: If that is so.
        """
        if not all(expected in (ANY, given) for expected, given in zip(self.size, size, strict=True)):
            wanted = " x ".join("any" if expected == ANY else str(expected) for expected in self.size)
            raise InputError(
                f"{name} is {size[0]} x {size[1]} pixels high and wide, but the model takes {wanted}: give images of "
                "that size, or export the model for any."
            )

    def arrange(self, image: Pixels, name: object = "An image") -> npt.NDArray[Any]:
        """Lay an image of shape (h, w, 3) out as the model takes it, as often as it takes images at once.

        Raises:
            InputError: If it has another size than the model takes.
        """
        self.require_size(image.shape[:2], name)
        axes = image if self.layout == "NHWC" else image.transpose(2, 0, 1)
        repeated = np.broadcast_to(axes, (max(1, self.batch), *axes.shape))
        return np.ascontiguousarray(repeated, self.dtype)
