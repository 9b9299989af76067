"""Antialiased resizing as two products of matrices, which takes images of any size.

OpenVINO's own operation, ``Interpolate`` with ``bilinear_pillow``, gives the same values, but its CPU plugin prepares
for each new size of image anew, which takes a second and memory that stays taken.
"""

from __future__ import annotations

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from anomalib_flows.geometry import ResizeMode
from anomalib_flows.types import ImageSize

Sides = tuple[ov.Node, ov.Node]
"""A height and a width."""


def resize(images: ov.Output, size: ImageSize, mode: ResizeMode, channels_last: bool) -> tuple[ov.Output, Sides | None]:
    """Resize images as :func:`anomalib_flows.preprocess.resize` does.

    Args:
        images: Floats, (N, h, w, 3) or (N, 3, h, w).
        size: The new height H and width W.
        mode: ``stretch`` or ``pad``.
        channels_last: Whether colours are the last axis.

    Returns:
        Images (N, 3, H, W), and with ``pad`` the height and width of what is no padding.
    """
    shape = ops.shape_of(images, output_type="i64")
    height, width = (ops.gather(shape, integer(axis), integer(0)) for axis in ((1, 2) if channels_last else (2, 3)))
    inner = content(height, width, size) if mode == "pad" else None
    within = (integer(size[0]), integer(size[1])) if inner is None else inner
    of_rows, of_columns = weights(height, within[0], size[0]), weights(width, within[1], size[1])
    if channels_last:
        rows = ops.reshape(images, vector(0, 0, -1), special_zero=True)
        lower = ops.reshape(ops.matmul(of_rows, rows, False, False), vector(0, 0, -1, 3), special_zero=True)
        lower = ops.transpose(lower, vector(0, 3, 1, 2))
        return ops.matmul(lower, of_columns, False, True).output(0), inner
    narrower = ops.matmul(images, of_columns, False, True)
    return ops.matmul(of_rows, narrower, False, False).output(0), inner


def weights(length: ov.Node, within: ov.Node, size: int) -> ov.Node:
    r"""How much of each of the old pixels is in each of the new ones, (size, length).

    With n new pixels, of which the i-th has its centre at :math:`(i + 0.5)\, length / n` and reaches as far as a new or an
    old pixel is wide, whichever is wider,

    .. math::
        w_{ij} \propto \max\bigl(0,\; 2 \max(length, n) - |(2j + 1)\, n - (2i + 1)\, length|\bigr)

    with rows that add up to 1. Whole numbers, for in bfloat16, which some devices choose by themselves, places in an
    image of 1000 pixels would be off by two. Pixels from n on repeat the one before: that is how borders are padded.
    """
    index = ops.minimum(ops.constant(np.arange(size)), ops.subtract(within, integer(1)))
    centres, places = (ops.add(ops.multiply(i, integer(2)), integer(1)) for i in (index, counted(length)))
    apart = ops.subtract(
        ops.unsqueeze(ops.multiply(places, within), integer(0)),
        ops.unsqueeze(ops.multiply(centres, length), integer(1)),
    )
    reach = ops.multiply(ops.maximum(length, within), integer(2))
    overlap = ops.convert(ops.maximum(ops.subtract(reach, ops.abs(apart)), integer(0)), "f32")
    return ops.divide(overlap, ops.reduce_sum(overlap, vector(1), keep_dims=True))


def counted(length: ov.Node) -> ov.Node:
    """Count from 0 to length - 1."""
    return ops.range(integer(0), length, integer(1), output_type="i64")


def content(height: ov.Node, width: ov.Node, size: ImageSize) -> Sides:
    """Height and width that an image takes within ``size``: :func:`anomalib_flows.geometry.content_size`."""
    by_height, by_width = ops.multiply(integer(size[0]), width), ops.multiply(integer(size[1]), height)
    tall = ops.less_equal(by_width, by_height)
    high = ops.select(tall, ops.maximum(divided(by_width, width), integer(1)), integer(size[0]))
    wide = ops.select(tall, integer(size[1]), ops.maximum(divided(by_height, height), integer(1)))
    return high, wide


def divided(dividend: ov.Node, divisor: ov.Node) -> ov.Node:
    """Divide whole numbers and round halves to even ones, as Python does."""
    quotient = ops.divide(dividend, divisor)
    twice = ops.multiply(ops.subtract(dividend, ops.multiply(quotient, divisor)), integer(2))
    odd = ops.equal(ops.mod(quotient, integer(2)), integer(1))
    up = ops.logical_or(ops.greater(twice, divisor), ops.logical_and(ops.equal(twice, divisor), odd))
    return ops.add(quotient, ops.convert(up, "i64"))


def hide_padding(maps: ov.Output, inner: Sides, size: ImageSize) -> ov.Output:
    """Give the padding of maps (N, 1, H, W) the lowest value of the rest, so that nothing is decided there."""
    rows, columns = (ops.less(ops.constant(np.arange(n)), end) for n, end in zip(size, inner, strict=True))
    within = ops.logical_and(ops.unsqueeze(rows, integer(1)), ops.unsqueeze(columns, integer(0)))
    lowest = ops.reduce_min(ops.select(within, maps, real(np.inf)), vector(2, 3), keep_dims=True)
    return ops.select(within, maps, lowest).output(0)


def integer(value: int) -> ov.Node:
    """Make a constant whole number."""
    return ops.constant(value, ov.Type.i64)


def vector(*values: int) -> ov.Node:
    """Make a constant vector of whole numbers."""
    return ops.constant(list(values), ov.Type.i64)


def real(value: float) -> ov.Node:
    """Make a constant number."""
    return ops.constant(value, ov.Type.f32)
