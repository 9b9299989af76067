"""Antialiased resizing as two products of matrices: in a graph it takes images of any size, at no cost for a new one.

The operation that OpenVINO has for it, ``Interpolate`` with ``bilinear_pillow``, gives the same values, but its CPU
plugin prepares for each new size anew, which takes a second and memory that stays taken.
"""

from __future__ import annotations

import torch
from torch import Tensor

from anomalib_flows.core.geometry import ResizeMode
from anomalib_flows.core.types import ImageSize

Sides = tuple[Tensor, Tensor]
"""Height and width as tensors, so that they stay variables of a traced graph."""


def resize(images: Tensor, size: ImageSize, mode: ResizeMode) -> tuple[Tensor, Sides]:
    """Resize images as :func:`anomalib_flows.core.preprocess.resize` does.

    Args:
        images: Values of shape (N, h, w, 3).
        size: The new height H and width W.
        mode: ``stretch`` or ``pad``.

    Returns:
        Images (N, 3, H, W), and the height and width of what is no padding.
    """
    count, height, width, colours = images.shape
    rows, columns = torch.arange(height), torch.arange(width)
    content = content_size(rows[-1] + 1, columns[-1] + 1, size, mode)
    of_rows, of_columns = weights(rows, content[0], size[0]), weights(columns, content[1], size[1])
    lower = of_rows @ images.float().reshape(count, height, width * colours)
    lower = lower.reshape(count, size[0], width, colours).permute(0, 2, 3, 1)
    # One large product, not one for each colour, and not the last operation: for processors with bfloat16 OpenVINO
    # 2026.4 compiles no product that a division of each channel and a quantisation follow.
    narrower = of_columns @ lower.reshape(count, width, colours * size[0])
    return narrower.reshape(count, size[1], colours, size[0]).permute(0, 2, 3, 1), content


def weights(old: Tensor, within: Tensor, size: int) -> Tensor:
    r"""How much of each of the old pixels is in each of the new ones, (size, length).

    With n new pixels, of which the i-th has its centre at :math:`(i + 0.5)\, length / n` and reaches as far as a new
    or an old pixel is wide, whichever is wider,

    .. math::
        w_{ij} \propto \max\bigl(0,\; 2 \max(length, n) - |(2j + 1)\, n - (2i + 1)\, length|\bigr)

    with rows that add up to 1. Whole numbers, for in bfloat16, which some devices choose by themselves, places in an
    image of 1000 pixels would be off by two. Pixels from n on repeat the one before: that is how borders are padded.

    Args:
        old: Numbers of the old pixels, (length,).
        within: The number n of new pixels that are no padding.
        size: The number of new pixels with the padding.
    """
    length = old[-1] + 1
    new = torch.minimum(torch.arange(size), within - 1)
    apart = (2 * old + 1) * within - ((2 * new + 1) * length)[:, None]
    overlap = (2 * torch.maximum(length, within) - apart.abs()).clamp(min=0).float()
    return overlap / overlap.sum(1, keepdim=True)


def content_size(height: Tensor, width: Tensor, size: ImageSize, mode: ResizeMode) -> Sides:
    """Height and width that an image takes within ``size``: :func:`anomalib_flows.core.geometry.content_size`."""
    whole = torch.tensor(size[0]), torch.tensor(size[1])
    if mode == "stretch":
        return whole
    tall = size[0] * width <= size[1] * height
    narrow, flat = divided(size[0] * width, height), divided(size[1] * height, width)
    return torch.where(tall, whole[0], flat.clamp(min=1)), torch.where(tall, narrow.clamp(min=1), whole[1])


def divided(dividend: Tensor, divisor: Tensor) -> Tensor:
    """Divide whole numbers and round halves to even ones, as Python does."""
    quotient = dividend.div(divisor, rounding_mode="floor")
    twice = 2 * (dividend - quotient * divisor)
    odd = quotient - 2 * quotient.div(torch.tensor(2), rounding_mode="floor")
    return quotient + torch.where(twice == divisor, odd, (twice > divisor).long())


def hide_padding(maps: Tensor, content: Sides, size: ImageSize) -> Tensor:
    """Give the padding of maps (N, 1, H, W) the lowest value of the rest, so that nothing is decided there."""
    height, width = content
    within = (torch.arange(size[0]) < height)[:, None] & (torch.arange(size[1]) < width)
    lowest = torch.where(within, maps, torch.inf).amin((2, 3), keepdim=True)
    return torch.where(within, maps, lowest)
