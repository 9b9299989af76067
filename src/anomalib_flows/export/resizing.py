"""Antialiased resizing as two matrix products, for graphs that accept images of any size.

OpenVINO's operation ``Interpolate`` with ``bilinear_pillow`` computes the same values. But its CPU plugin compiles it
for each new size, which takes a second and memory that is never released.
"""

from __future__ import annotations

import torch
from torch import Tensor

from anomalib_flows.core.types import ImageSize, ResizeMode

Sides = tuple[Tensor, Tensor]
"""Height and width as tensors, which stay variables of a traced graph."""


def traced_resize(images: Tensor, size: ImageSize, mode: ResizeMode) -> tuple[Tensor, Sides]:
    """Resize images as :func:`anomalib_flows.core.preprocess.resize` does.

    Args:
        images: Values of shape (N, h, w, 3).
        size: The new height H and width W.
        mode: ``stretch`` or ``pad``.

    Returns:
        Images (N, 3, H, W), and their height and width without padding.
    """
    count, height, width, colours = images.shape
    rows, columns = torch.arange(height), torch.arange(width)
    content = traced_content_size(rows[-1] + 1, columns[-1] + 1, size, mode)
    of_rows, of_columns = weights(rows, content[0], size[0]), weights(columns, content[1], size[1])
    lower = of_rows @ images.float().reshape(count, height, width * colours)
    lower = lower.reshape(count, size[0], width, colours).permute(0, 2, 3, 1)
    # One large product, not one for each colour, and not the last operation: on processors with bfloat16, OpenVINO
    # 2026.4 cannot compile a product that is followed by a division of each channel and a quantisation.
    narrower = of_columns @ lower.reshape(count, width, colours * size[0])
    return narrower.reshape(count, size[1], colours, size[0]).permute(0, 2, 3, 1), content


def weights(old: Tensor, within: Tensor, size: int) -> Tensor:
    r"""Return the share of each old pixel in each new one, (size, length).

    The i-th of n new pixels has its centre at :math:`(i + 0.5)\, length / n`, and the width of a new or an old pixel,
    whichever is wider:

    .. math::
        w_{ij} \propto \max\bigl(0,\; 2 \max(length, n) - |(2j + 1)\, n - (2i + 1)\, length|\bigr)

    Rows sum to 1. Positions are integers: in bfloat16, the default of some devices, positions in an image of 1000
    pixels would be off by two. New pixels from n on repeat the last one, which pads the border.

    Args:
        old: Indices of the old pixels, (length,).
        within: Number n of new pixels without padding.
        size: Number of new pixels with padding.
    """
    length = old[-1] + 1
    new = torch.minimum(torch.arange(size), within - 1)
    apart = (2 * old + 1) * within - ((2 * new + 1) * length)[:, None]
    overlap = (2 * torch.maximum(length, within) - apart.abs()).clamp(min=0).float()
    return overlap / overlap.sum(1, keepdim=True)


def traced_content_size(height: Tensor, width: Tensor, size: ImageSize, mode: ResizeMode) -> Sides:
    """Return height and width within ``size``, as :func:`anomalib_flows.core.types.content_size` does."""
    whole = torch.tensor(size[0]), torch.tensor(size[1])
    if mode == "stretch":
        return whole
    tall = size[0] * width <= size[1] * height
    narrow, flat = divided(size[0] * width, height), divided(size[1] * height, width)
    return torch.where(tall, whole[0], flat.clamp(min=1)), torch.where(tall, narrow.clamp(min=1), whole[1])


def divided(dividend: Tensor, divisor: Tensor) -> Tensor:
    """Divide integers and round halves to even, as Python does."""
    quotient = dividend.div(divisor, rounding_mode="floor")
    twice = 2 * (dividend - quotient * divisor)
    odd = quotient - 2 * quotient.div(torch.tensor(2), rounding_mode="floor")
    return quotient + torch.where(twice == divisor, odd, (twice > divisor).long())


def traced_hide_padding(maps: Tensor, content: Sides, size: ImageSize) -> Tensor:
    """Set the padding of each map of a batch (N, M, H, W) to the lowest value of its content."""
    height, width = content
    within = (torch.arange(size[0]) < height)[:, None] & (torch.arange(size[1]) < width)
    lowest = torch.where(within, maps, torch.inf).amin((2, 3), keepdim=True)
    return torch.where(within, maps, lowest)
