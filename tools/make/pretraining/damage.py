"""Damage of scenes: where it is, and how it looks."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pretraining.brush import Brush, smooth_noise

VISIBLE = 0.05
"""Smallest change of a pixel that counts as damage."""


class Place(NamedTuple):
    """Places of damage in nP samples.

    Args:
        rows: Pixels down from the centre, of shape (nP, S, S), or (S, S) for one sample; likewise the next three.
        columns: Pixels across from the centre.
        along: Pixels along a direction.
        across: Pixels across that direction.
        radius: Size in pixels, of shape (nP, 1, 1).
        bend: Noise that bends outlines, like ``rows``.
    """

    rows: Tensor
    columns: Tensor
    along: Tensor
    across: Tensor
    radius: Tensor
    bend: Tensor


def damage(brush: Brush, scene: Tensor, rounds: int = 3) -> Tensor:
    """Damage each scene in up to ``rounds`` ways; about one image in ten stays normal."""
    for _ in range(rounds):
        where = place(brush)
        shape, kind, amount = (brush.own(1, 1) for _ in range(3))
        opacities = torch.stack([outline(brush, where) for outline in SHAPES])
        opacity = opacities[(shape * len(SHAPES)).long().flatten(), torch.arange(len(scene))]
        opacity = opacity * (brush.own(1, 1) < 0.65) * (0.4 + 0.6 * brush.own(1, 1))
        kinds = (kind * len(DAMAGES)).long().flatten().tolist()
        others = scene[torch.randperm(len(scene), generator=brush.generator)]
        places = (Place(*part) for part in zip(*where, strict=True))
        cases = zip(kinds, scene, others, places, amount.flatten().tolist(), strict=True)
        scene = torch.lerp(scene, torch.stack([DAMAGES[k](*case) for k, *case in cases]), opacity[:, None])
    return scene.clamp(0, 1)


def changed(scene: Tensor, damaged: Tensor) -> Tensor:
    """Return by how much scenes (N, 3, S, S) differ, with small gaps closed, of shape (N, 1, S, S)."""
    wide = F.max_pool2d((damaged - scene).abs().amax(1, keepdim=True), 5, stride=1, padding=2)
    return -F.max_pool2d(-wide, 5, stride=1, padding=2)


def place(brush: Brush) -> Place:
    """Draw place and direction of the damage: often along the rows or columns of the image."""
    rows, columns = (axis - (brush.own(1, 1) - 0.5) * 0.9 * brush.size for axis in (brush.rows, brush.columns))
    upright = (brush.own(1, 1) * 2).floor() * math.pi / 2
    angle = torch.where(brush.own(1, 1) < 0.4, upright, math.pi * brush.own(1, 1))
    along, across = angle.cos() * columns + angle.sin() * rows, angle.cos() * rows - angle.sin() * columns
    radius = 0.025 * brush.size * 6 ** brush.own(1, 1)
    return Place(rows, columns, along, across, radius, smooth_noise(brush.normal(brush.size, brush.size), 6.0))


def depth(brush: Brush, where: Place) -> Tensor:
    """Return the approximate depth of pixels within an irregular spot, in pixels; negative outside."""
    edge = 1 + 0.5 * brush.own(1, 1) * where.bend
    return where.radius * edge - torch.hypot(where.rows, where.columns)


def blob(brush: Brush, where: Place) -> Tensor:
    """Return the opacity of a spot."""
    return (depth(brush, where) / (0.7 + 3 * brush.own(1, 1)) + 0.5).clamp(0, 1)


def ring(brush: Brush, where: Place) -> Tensor:
    """Return the opacity of a dried drop: its rim, and a little of its inside."""
    inwards = depth(brush, where)
    rim = torch.exp(-((inwards / (0.8 + 2 * brush.own(1, 1))) ** 2))
    return torch.maximum(0.7 * rim, 0.3 * brush.own(1, 1) * (inwards + 0.5).clamp(0, 1))


def stroke(brush: Brush, where: Place) -> Tensor:
    """Return the opacity of a bent line."""
    across = where.across + 4 * brush.own(1, 1) * where.bend
    width, length = 0.6 * 6 ** brush.own(1, 1), 2 * where.radius * (1 + brush.own(1, 1))
    return (width - torch.hypot(across, (where.along.abs() - length).clamp(min=0)) + 0.5).clamp(0, 1)


def bar(brush: Brush, where: Place) -> Tensor:
    """Opacity of a straight, slender rectangle."""
    width, length = 2 + 0.5 * where.radius * brush.own(1, 1), where.radius * (1 + 2 * brush.own(1, 1))
    return (width - where.across.abs() + 0.5).clamp(0, 1) * (length - where.along.abs() + 0.5).clamp(0, 1)


# Opacities (nP, S, S) from 0 to 1; what stands here twice is drawn twice as often.
SHAPES: list[Callable[[Brush, Place], Tensor]] = [blob, blob, stroke, ring, bar]


def fetched(scene: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Sample a scene (3, S, S) at pixels further down and across, by distances of shape (S, S)."""
    line = torch.linspace(-1, 1, len(rows))
    grid = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1)
    grid = grid + 2 / (len(rows) - 1) * torch.stack([columns, rows], -1)
    return F.grid_sample(scene[None], grid[None], mode="bilinear", padding_mode="reflection", align_corners=True)[0]


def twisted(scene: Tensor, where: Place, amount: float) -> Tensor:
    """Rotate the centre of a place by 0.6 to 1.6 radians, and its surroundings less and less."""
    distance = torch.hypot(where.rows, where.columns) / (0.7 * where.radius)
    angle = (0.6 + amount) * torch.exp(-0.5 * distance**4)
    down = (angle.cos() - 1) * where.rows - angle.sin() * where.columns
    return fetched(scene, down, angle.sin() * where.rows + (angle.cos() - 1) * where.columns)


def pinched(scene: Tensor, where: Place, amount: float) -> Tensor:
    """Contract or expand the structure around the centre of a place."""
    distance = torch.hypot(where.rows, where.columns) / where.radius
    bump = (1.6 * amount - 0.8) * torch.exp(-2 * distance**2)
    return fetched(scene, bump * where.rows, bump * where.columns)


def smeared(scene: Tensor) -> Tensor:
    """Remove the detail of a scene (3, S, S)."""
    small = F.interpolate(scene[None], scale_factor=1 / 8, mode="area")
    return F.interpolate(small, scene.shape[1:], mode="bilinear")[0]


def slipped(scene: Tensor, amount: float) -> Tensor:
    """Shift the structure along rows or columns by 3 to 26 pixels, which the amount's last digits determine."""
    return scene.roll(3 + int(50 * amount % 1 * 24), 1 + int(2 * amount))


def floating(scene: Tensor, amount: float) -> Tensor:
    """Spread bright or dark pixels along rows or columns; the amount's last digits determine how far."""
    step, axis = 3 + int(50 * amount % 1 * 8), 1 + int(4 * amount) % 2
    stacked = torch.stack([scene.roll(i * step, axis) for i in range(4)])
    return stacked.amax(0) if amount < 0.5 else stacked.amin(0)


# Kinds of damage. Each takes a scene and another one, both (3, S, S), the place, and an amount from 0 to 1.
DAMAGES: list[Callable[[Tensor, Tensor, Place, float], Tensor]] = [
    lambda _scene, other, _where, _amount: other,  # a piece of another scene
    lambda scene, _other, _where, _amount: scene.transpose(1, 2).flip(1),  # the structure rotated
    lambda scene, _other, _where, _amount: scene.roll((40, 24), (1, 2)).flip(2),  # the structure interrupted
    lambda scene, _other, _where, amount: slipped(scene, amount),
    lambda scene, _other, _where, amount: floating(scene, amount),
    lambda scene, _other, where, amount: twisted(scene, where, amount),
    lambda scene, _other, where, amount: pinched(scene, where, amount),
    lambda scene, _other, _where, _amount: smeared(scene),
    lambda scene, _other, _where, amount: scene * (0.2 + 0.5 * amount),  # darkened
    lambda scene, _other, _where, amount: scene + (1 - scene) * (0.2 + 0.5 * amount),  # brightened
    lambda scene, _other, _where, amount: (scene.mean((1, 2), keepdim=True) + 0.6 * (amount - 0.5)).expand_as(scene),
    lambda scene, _other, where, _amount: (
        scene + 0.15 * where.bend.roll(7, 0)[::4, ::4].repeat(4, 4)
    ),  # spotted, by noise that bends no outlines
    lambda scene, _other, where, _amount: fetched(
        scene, 0.04 * len(where.bend) * where.bend.T, 0.04 * len(where.bend) * where.bend
    ),
]
