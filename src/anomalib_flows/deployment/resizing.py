"""Preprocessing as operations of OpenVINO, which take images of any size."""

from __future__ import annotations

import openvino as ov
from openvino import opset13 as ops

from anomalib_flows.geometry import ResizeMode
from anomalib_flows.types import ImageSize

Values = ov.Output


def resize(images: Values, size: ImageSize, mode: ResizeMode) -> tuple[Values, Values | None]:
    """Resize float images (N, 3, h, w) as :func:`anomalib_flows.preprocess.resize` does.

    Returns:
        Images (N, 3, H, W), and with ``pad`` the height and width of what is no padding.
    """
    if mode == "stretch":
        return _interpolate(images, ops.constant(size, ov.Type.i64).output(0)), None
    inner = content(images, size)
    room = ops.subtract(ops.constant(size, ov.Type.i64), inner)
    ends = ops.concat([ops.constant([0, 0], ov.Type.i64), room], axis=0)
    zeros = ops.constant([0] * 4, ov.Type.i64)
    return ops.pad(_interpolate(images, inner), zeros, ends, "edge").output(0), inner


def _interpolate(images: Values, size: Values) -> Values:
    axes = ops.constant([2, 3], ov.Type.i64)
    return ops.interpolate(
        images, size, mode="bilinear_pillow", shape_calculation_mode="sizes", axes=axes, cube_coeff=-0.5
    ).output(0)


def content(images: Values, size: ImageSize) -> Values:
    """Height and width that images (N, 3, h, w) take within ``size``: :func:`anomalib_flows.geometry.content_size`."""
    shape = ops.shape_of(images, output_type="i64")
    height, width = (ops.gather(shape, _integer(axis), _integer(0)) for axis in (2, 3))
    by_height, by_width = ops.multiply(_integer(size[0]), width), ops.multiply(_integer(size[1]), height)
    whole = ops.constant(size, ov.Type.i64)
    as_high = ops.concat([_vector(_integer(size[0])), _vector(_divided(by_height, height))], axis=0)
    as_wide = ops.concat([_vector(_divided(by_width, width)), _vector(_integer(size[1]))], axis=0)
    chosen = ops.select(ops.less_equal(by_height, by_width), as_high, as_wide)
    return ops.minimum(ops.maximum(chosen, _integer(1)), whole).output(0)


def _divided(dividend: ov.Node, divisor: ov.Node) -> ov.Node:
    """Divide whole numbers and round halves to even ones, as Python does."""
    quotient = ops.divide(dividend, divisor)
    twice = ops.multiply(ops.subtract(dividend, ops.multiply(quotient, divisor)), _integer(2))
    odd = ops.equal(ops.mod(quotient, _integer(2)), _integer(1))
    up = ops.logical_or(ops.greater(twice, divisor), ops.logical_and(ops.equal(twice, divisor), odd))
    return ops.add(quotient, ops.convert(up, "i64"))


def hide_padding(maps: Values, inner: Values, size: ImageSize) -> Values:
    """Give the padding of maps (N, 1, H, W) the lowest value of the rest, so that nothing is decided there."""
    rows, columns = (
        ops.less(ops.constant(list(range(length)), ov.Type.i64), ops.gather(inner, _integer(axis), _integer(0)))
        for axis, length in enumerate(size)
    )
    within = ops.logical_and(ops.unsqueeze(rows, _integer(1)), ops.unsqueeze(columns, _integer(0)))
    infinite = ops.constant(float("inf"), ov.Type.f32)
    lowest = ops.reduce_min(ops.select(within, maps, infinite), ops.constant([2, 3], ov.Type.i64), keep_dims=True)
    return ops.select(within, maps, lowest).output(0)


def _integer(value: int) -> ov.Node:
    return ops.constant(value, ov.Type.i64)


def _vector(value: ov.Node) -> ov.Node:
    return ops.unsqueeze(value, _integer(0))
