"""Families of textures: each function draws a field of shape (nP, S, S), roughly from 0 to 1.

All are formulas: none uses a photograph.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from pretraining.brush import Brush, frequencies, smooth_noise, spectrum_noise


def power_law(brush: Brush) -> Tensor:
    """Draw noise whose spectrum falls with a power of the frequency, stretched in a direction."""
    down, across = frequencies(brush.size)
    angle, stretch = brush.common(0, math.pi, 1, 1), brush.scale(1, 6, 1, 1)
    along = angle.cos() * across + angle.sin() * down
    across = (angle.cos() * down - angle.sin() * across) / stretch
    distance = torch.hypot(along, across).clamp(min=1 / brush.size)
    return unit(spectrum_noise(brush.normal(brush.size, brush.size), distance ** -brush.common(0.3, 2.2, 1, 1)))


def band(brush: Brush) -> Tensor:
    """Draw noise of one wavelength, in all directions or in few: scales, bark, orange peel, brushed metal."""
    down, across = frequencies(brush.size)
    angle, focus = brush.common(0, math.pi, 1, 1), brush.scale(0.05, 30, 1, 1)
    direction = torch.exp(focus * (torch.cos(2 * (torch.atan2(down, across) - angle)) - 1))
    centre, width = brush.scale(0.03, 0.25, 1, 1), brush.common(0.15, 0.5, 1, 1)
    ring = torch.exp(-(((torch.hypot(down, across) + 1e-4).log() - centre.log()) ** 2) / (2 * width**2))
    field = spectrum_noise(brush.normal(brush.size, brush.size), direction * ring)
    return unit(field * brush.scale(1, 4, 1, 1))


def weave(brush: Brush) -> Tensor:
    """Draw threads in two directions that pass over each other in turn, or only stripes or a grid."""
    bend = brush.scale(0.1, 2, 1, 1) * smooth_noise(brush.normal(brush.size, brush.size), 10.0)
    x, y = brush.rotated(brush.common(0, math.pi, 1, 1))
    x, y = (axis + bend + 40 * brush.own(1, 1) for axis in (x, y))
    period = brush.scale(3, 16, 1, 1)
    x, y = x / period, y / (period * brush.scale(0.7, 1.4, 1, 1))
    warp, weft = (0.5 + 0.5 * torch.cos(2 * math.pi * axis) for axis in (x, y))
    order, turn = brush.common(1, 5, 1, 1).floor(), brush.common(1, 5, 1, 1).floor()
    over = ((x.floor() + turn * y.floor()) % (order + 1)) < (order + 1) / 2
    plain = torch.where(brush.chance(0.3, 1, 1), warp, warp * weft)
    return torch.where(brush.chance(0.7, 1, 1), torch.where(over, warp, 0.5 * weft), plain)


def cloth(brush: Brush) -> Tensor:
    """Draw threads of different shades that pass over a few and under a few: plain weave, twill, satin."""
    bend = brush.scale(0.1, 2, 1, 1)
    x, y = brush.rotated(brush.common(0, math.pi, 1, 1) * brush.chance(0.5, 1, 1))
    waves = [bend * smooth_noise(brush.normal(brush.size, brush.size), 16.0) for _ in range(2)]
    period = brush.scale(3.5, 14, 1, 1)
    x, y = ((axis + wave) / period + brush.own(1, 1) for axis, wave in zip((x, y), waves, strict=True))
    length, dark, spread = brush.common(2, 7, 1, 1).floor(), brush.common(0, 0.6, 1, 1), brush.common(0.02, 0.3, 1)
    over = (y.floor() * brush.common(1, 5, 1, 1).floor() + x.floor()) % length < (brush.common(0.2, 0.8, 1, 1) * length)
    fibres = 1 + brush.common(0, 0.2, 1, 1) * smooth_noise(brush.normal(brush.size, brush.size), 0.8)
    threads = []
    for axis in (x, y):
        shade = 1 + spread * brush.normal(128)
        profile = dark + (1 - dark) * torch.sin(math.pi * (axis % 1))
        threads.append(profile * shade.gather(1, (axis.floor().long() % 128).flatten(1)).view_as(axis) * fibres)
    return torch.where(over, 0.5 + 0.5 * threads[0], 0.5 * threads[1]).clamp(0, 1)


def cells(brush: Brush) -> Tensor:
    """Draw grains: Voronoi cells of random points, with a shade each, or the walls between them."""
    side = brush.size // 2
    line = (torch.arange(float(side)) + 0.5) / side
    seeds = brush.own(2, 160) * 1.2 - 0.1
    seeds = seeds + 10 * (torch.arange(160) >= brush.scale(12, 160, 1, 1))
    stretch = brush.scale(0.4, 2.5, 1, 1, 1)
    squares = (seeds[:, 0, :, None, None] - line[:, None]) ** 2 * stretch + (seeds[:, 1, :, None, None] - line) ** 2
    distance, nearest = squares.topk(2, dim=1, largest=False)
    walls = (distance[:, 1].sqrt() - distance[:, 0].sqrt()) * side / brush.common(1, 10, 1, 1)
    shades = brush.own(160).gather(1, nearest[:, 0].flatten(1)).view_as(walls)
    field = torch.where(brush.chance(0.5, 1, 1), shades * walls.clamp(max=1), walls.clamp(max=1))
    return torch.nn.functional.interpolate(field[:, None], size=(brush.size, brush.size), mode="bilinear")[:, 0]


def leaves(brush: Brush, count: int = 40) -> Tensor:
    """Draw dead leaves: discs, squares and strips of many sizes and shades that cover each other."""
    size, round_, slender = brush.size, brush.chance(0.5, 1, 1), brush.scale(1, 6, 1, 1)
    lean, spread = brush.common(0, math.pi, 1), brush.scale(0.05, 3, 1)
    radius = brush.scale(1.5, 5, 1) * (brush.own(count) + 0.02) ** (-brush.common(0.5, 2, 1) / 2)
    quarter = (brush.own(count) * 2).floor() * math.pi / 2
    angle = torch.where(brush.chance(0.4, 1), quarter, lean + spread * (brush.own(count) - 0.5))
    centre, shade = 1.3 * size * (brush.own(2, count) - 0.5), brush.own(count)
    field = brush.common(0, 1, 1, 1) + 0.05 * brush.normal(size, size)
    for i in range(count):
        x, y = brush.rotated(angle[:, i, None, None])
        x = (x - centre[:, 0, i, None, None]).abs_().div_(slender)
        y = (y - centre[:, 1, i, None, None]).abs_()
        distance = torch.where(round_, torch.hypot(x, y), torch.maximum(x, y))
        inside = (radius[:, i, None, None] + 0.5 - distance).clamp_(0, 1)
        field = torch.lerp(field, shade[:, i, None, None].expand_as(field), inside)
    return field


def circuit(brush: Brush) -> Tensor:
    """Draw strokes on a grid: conductors, pads and legs in rows."""
    pitch = brush.scale(5, 18, 1, 1)
    lattice = brush.size // 4 + 1
    x, y = (axis / pitch + 8 * brush.own(1, 1) + lattice for axis in brush.rotated(brush.common(-0.05, 0.05, 1, 1)))
    column, row = x.floor().long() % lattice, y.floor().long() % lattice
    kind = brush.own(lattice * lattice)
    here = kind.gather(1, (row * lattice + column).flatten(1)).view_as(x)
    u, v = (x % 1 - 0.5).abs(), (y % 1 - 0.5).abs()
    thick = brush.common(0.1, 0.35, 1, 1)
    pads = torch.where(here < brush.common(0.1, 0.9, 1, 1), torch.maximum(u, v), torch.hypot(u, v) + 0.1)
    vertical = torch.where(here < 0.5, u, v)
    shape = torch.where(brush.chance(0.5, 1, 1), vertical, pads)
    return ((thick - shape) * pitch + 0.5).clamp(0, 1) * (0.7 + 0.3 * here)


def wood(brush: Brush) -> Tensor:
    """Draw wood around knots: rings of a stretched, bent distance."""
    x, y = brush.rotated(brush.common(0, math.pi, 1, 1))
    bend = smooth_noise(brush.normal(brush.size, brush.size), 14.0)
    stretch = brush.scale(1, 12, 1, 1)
    x, y = x + 80 * (brush.own(1, 1) - 0.5), y + 80 * (brush.own(1, 1) - 0.5)
    distance = torch.hypot(x / stretch, y) + brush.scale(0.3, 4, 1, 1) * bend
    rings = distance / brush.scale(2.5, 14, 1, 1)
    return torch.where(brush.chance(0.5, 1, 1), rings % 1, 0.5 + 0.5 * torch.sin(2 * math.pi * rings))


def fractal(brush: Brush, steps: int = 10) -> Tensor:
    """Draw how fast points escape under z -> z^2 + c: structure at every scale."""
    x, y = brush.rotated(brush.common(0, math.pi, 1, 1))
    zoom = brush.scale(0.3, 1.2, 1, 1) / brush.size
    angle = brush.common(0, 2 * math.pi, 1, 1)
    radius = brush.common(0.6, 0.8, 1, 1)
    z = torch.complex(x * zoom + 0.6 * (brush.own(1, 1) - 0.5), y * zoom + 0.6 * (brush.own(1, 1) - 0.5))
    c = torch.polar(radius, angle)
    field = torch.zeros_like(x)
    for _ in range(steps):
        z = z * z + c
        size = z.abs()
        z = z / (size / 4).clamp(min=1)
        field = field + torch.exp(-size)
    return field * brush.common(0.5, 3, 1, 1) % 1


def spots(brush: Brush) -> Tensor:
    """Draw noise above a threshold: islands with soft or sharp edges, such as foam, rust or leather."""
    field = smooth_noise(brush.normal(brush.size, brush.size), brush.scale(1, 10, 1, 1))
    ridged = torch.where(brush.chance(0.4, 1, 1), field.abs() * 2 - 1, field)
    return ((ridged - brush.common(-0.8, 1.5, 1, 1)) * brush.scale(1, 10, 1, 1) + 0.5).clamp(0, 1)


def unit(field: Tensor) -> Tensor:
    """Map normally distributed values to (0, 1)."""
    return torch.sigmoid(1.5 * field)


# Weights of the families: threads of normal cloth differ, which needs more examples than other variation.
FAMILIES: dict[Callable[[Brush], Tensor], float] = {
    power_law: 1, band: 1, weave: 1, cloth: 4, cells: 1, leaves: 1, circuit: 1, wood: 1, fractal: 1, spots: 1,
}  # fmt: skip
