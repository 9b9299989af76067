"""Size of an image within the network's input."""

from __future__ import annotations

from typing import Literal

from anomalib_flows.core.types import ImageSize

ResizeMode = Literal["stretch", "pad"]


def content_size(height: int, width: int, size: ImageSize, mode: ResizeMode) -> ImageSize:
    """Return the height and width that an image of ``height`` x ``width`` pixels has within ``size``.

    Only integers are multiplied, and each quotient is rounded once, halves to even: an exported graph computes the
    same size.
    """
    if mode == "stretch":
        return size
    if size[0] * width <= size[1] * height:
        return size[0], max(1, round(width * size[0] / height))
    return max(1, round(height * size[1] / width)), size[1]
