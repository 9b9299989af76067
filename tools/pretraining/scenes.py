"""Coloured scenes out of textures, damage done to them, and photographs of both."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pretraining.brush import Brush, smooth_noise
from pretraining.textures import FAMILIES

VISIBLE = 0.05
"""Smallest change of reflectance that counts as damage."""


@dataclass
class Pairs:
    """Photographs of P textures, two of each: image i and image P + i show the same texture.

    Args:
        images: RGB values from 0 to 1, of shape (2P, 3, S, S).
        damage: True where an image was damaged, of shape (2P, S, S).
    """

    images: Tensor
    damage: Tensor


def draw_pairs(seed: int, size: int, each: int = 2) -> Pairs:
    """Draw a batch that depends on the seed only: ``each`` textures of every family, so P = 9 * each."""
    generator = torch.Generator().manual_seed(seed)
    fixed = torch.rand(len(FAMILIES) * each, generator=generator) < 0.3
    scene = compose(generator, size, each, fixed)
    brush = Brush(generator, len(fixed), size, torch.zeros_like(fixed))
    damaged = damage(brush, scene)
    changed = (damaged - scene).abs().amax(1, keepdim=True)
    posed = pose(brush, torch.cat([damaged, changed], 1))
    return Pairs(photograph(brush, posed[:, :3]), posed[:, 3] > VISIBLE)


def compose(generator: torch.Generator, size: int, each: int, fixed: Tensor) -> Tensor:
    """Draw scenes (2P, 3, S, S): one texture, or that of another scene in places that a third one decides."""
    brush, field = Brush(generator, len(fixed), size, fixed), fields(generator, size, each, fixed)
    second, mask = (swapped(generator, field) for _ in range(2))
    mask = ((mask - brush.common(0.2, 0.8, 1, 1)) * brush.scale(1, 20, 1, 1) + 0.5).clamp(0, 1)
    mask = mask * brush.chance(0.5, 1, 1)
    shade = 1 - brush.common(0, 0.6, 1, 1) * brush.chance(0.4, 1, 1) * second
    colours = torch.lerp(colour(brush, field), colour(brush, second), mask[:, None])
    return (colours * shade[:, None]).clamp(0, 1)


def fields(generator: torch.Generator, size: int, each: int, fixed: Tensor) -> Tensor:
    """Draw ``each`` fields of every family, in two samples."""
    parts = [
        family(Brush(generator, each, size, fixed[i * each : (i + 1) * each])) for i, family in enumerate(FAMILIES)
    ]
    return torch.cat([part[:each] for part in parts] + [part[each:] for part in parts])


def swapped(generator: torch.Generator, values: Tensor) -> Tensor:
    """Give each texture the values (2P, ...) of another, both samples alike."""
    order = torch.randperm(len(values) // 2, generator=generator)
    return values[torch.cat([order, order + len(order)])]


def colour(brush: Brush, field: Tensor, nodes: int = 4) -> Tensor:
    """Give each value of a field (2P, S, S) a colour of a random palette, often grey, often faint."""
    grey = brush.common(0.1, 0.9, nodes, 1)
    tint = brush.common(-0.3, 0.3, nodes, 3) * brush.common(0, 1, 1, 1) * brush.chance(0.6, 1, 1)
    contrast = brush.scale(0.15, 1, 1, 1)
    base = brush.common(0.15, 0.85, 1, 1)
    palette = (base + contrast * (grey - base) + tint).clamp(0, 1)
    position = field.clamp(0, 1) * (nodes - 1)
    below = position.floor().clamp(max=nodes - 2)
    index = below.long().flatten(1)[..., None].expand(-1, -1, 3)
    colours = torch.lerp(
        palette.gather(1, index), palette.gather(1, index + 1), (position - below).flatten(1)[..., None]
    )
    return colours.transpose(1, 2).reshape(-1, 3, brush.size, brush.size)


def damage(brush: Brush, scene: Tensor, rounds: int = 2) -> Tensor:
    """Do up to ``rounds`` kinds of damage to each scene; about one image in six stays whole."""
    for _ in range(rounds):
        bend = smooth_noise(brush.normal(brush.size, brush.size), 6.0)
        opacity = torch.where(brush.own(1, 1) < 0.5, stroke(brush, bend), blob(brush, bend))[:, None]
        opacity = opacity * (brush.own(1, 1, 1) < 0.6) * (0.4 + 0.6 * brush.own(1, 1, 1))
        kinds, amount = (brush.own(1) * len(DAMAGES)).long().flatten().tolist(), brush.own(1).flatten().tolist()
        others = scene.roll(1, 0)
        spoilt = [DAMAGES[k](*case) for k, *case in zip(kinds, scene, others, bend, amount, strict=True)]
        scene = torch.lerp(scene, torch.stack(spoilt), opacity)
    return scene.clamp(0, 1)


def smeared(scene: Tensor) -> Tensor:
    """Take the detail out of a scene (3, S, S)."""
    small = F.interpolate(scene[None], scale_factor=1 / 8, mode="area")
    return F.interpolate(small, scene.shape[1:], mode="bilinear")[0]


def warped(scene: Tensor, bend: Tensor) -> Tensor:
    """Fetch the pixels of a scene (3, S, S) from about a twentieth of its side away, as a field (S, S) decides."""
    line = torch.linspace(-1, 1, len(bend))
    grid = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1) + 0.08 * torch.stack([bend, bend.T], -1)
    return F.grid_sample(scene[None], grid[None], mode="bilinear", padding_mode="reflection", align_corners=True)[0]


# What may be seen where a scene is damaged; each takes a scene and another one, both (3, S, S), noise (S, S) and an
# amount from 0 to 1.
DAMAGES: list[Callable[[Tensor, Tensor, Tensor, float], Tensor]] = [
    lambda _scene, other, _noise, _amount: other,  # a piece of something else
    lambda scene, _other, _noise, _amount: scene.transpose(1, 2).flip(1),  # the structure turned
    lambda scene, _other, _noise, _amount: scene.roll((40, 24), (1, 2)).flip(2),  # the structure interrupted
    lambda scene, _other, _noise, _amount: smeared(scene),
    lambda scene, _other, _noise, amount: scene * (0.2 + 0.5 * amount),  # darkened
    lambda scene, _other, _noise, amount: scene + (1 - scene) * (0.3 + 0.5 * amount),  # brightened
    lambda scene, _other, _noise, amount: (scene.mean((1, 2), keepdim=True) + 0.6 * (amount - 0.5)).expand_as(scene),
    lambda scene, _other, noise, _amount: scene + 0.15 * noise.roll(7, 0)[::4, ::4].repeat(4, 4),  # spotted
    lambda scene, _other, noise, _amount: warped(scene, noise),
]


def pose(brush: Brush, scene: Tensor) -> Tensor:
    """Turn and move each photograph a little, as parts never lie quite the same."""
    angle, shift = 0.1 * (brush.own(1, 1) - 0.5), 0.08 * (brush.own(2, 1) - 0.5)
    turn = torch.cat([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], 1).view(-1, 2, 2)
    grid = F.affine_grid(torch.cat([turn, shift], 2), list(scene.shape), align_corners=False)
    return F.grid_sample(scene, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def blob(brush: Brush, bend: Tensor) -> Tensor:
    """Opacity of a spot of irregular shape."""
    y, x = ((brush.own(1, 1) - 0.5) * brush.size for _ in range(2))
    radius = 0.02 * brush.size * 9 ** brush.own(1, 1)
    edge = 1 + 0.3 * bend
    return ((radius * edge - torch.hypot(brush.rows - y, brush.columns - x)) / (0.7 + 2 * brush.own(1, 1))).clamp(0, 1)


def stroke(brush: Brush, bend: Tensor) -> Tensor:
    """Opacity of a bent line."""
    angle, length = math.pi * brush.own(1, 1), (0.1 + 0.6 * brush.own(1, 1)) * brush.size
    y, x = ((brush.own(1, 1) - 0.5) * brush.size for _ in range(2))
    along, across = brush.rotated(angle)
    along = along - angle.cos() * x - angle.sin() * y
    across = across - angle.cos() * y + angle.sin() * x + 3 * brush.own(1, 1) * bend
    width = 0.7 * 6 ** brush.own(1, 1)
    return (width - torch.hypot(across, (along.abs() - length / 2).clamp(min=0)) + 0.5).clamp(0, 1)


def photograph(brush: Brush, scene: Tensor) -> Tensor:
    """Light a scene from a side, out of focus by a little, with grain; each photograph in its own way."""
    ramp = (brush.own(1, 1) - 0.5) * brush.rows / brush.size + (brush.own(1, 1) - 0.5) * brush.columns / brush.size
    light = 0.75 + 0.5 * brush.own(1, 1) + 0.5 * ramp
    padded = F.pad(scene, (1, 1, 1, 1), mode="replicate")
    blurred = (padded[..., :-2, 1:-1] + padded[..., 2:, 1:-1] + padded[..., 1:-1, :-2] + padded[..., 1:-1, 2:]) / 4
    scene = torch.lerp(scene, blurred, brush.own(1, 1, 1))
    grain = 0.025 * brush.own(1, 1, 1) * torch.randn(scene.shape, generator=brush.generator)
    return (scene * light[:, None] + grain).clamp(0, 1)
