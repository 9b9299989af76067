"""Coloured scenes of textures, and photographs of them with damage."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pretraining.brush import Brush, smooth_noise
from pretraining.damage import VISIBLE, changed, damage
from pretraining.textures import FAMILIES


@dataclass
class Photographs:
    """Photographs of P textures, n of each: images i, P + i, 2 P + i, ... show texture i.

    Args:
        images: RGB values from 0 to 1, of shape (nP, 3, S, S).
        damage: True where an image is damaged, of shape (nP, S, S).
        samples: The number n.
    """

    images: Tensor
    damage: Tensor
    samples: int


def draw(seed: int, size: int, textures: int = 10, samples: int = 4) -> Photographs:
    """Draw a batch that depends only on the seed.

    Args:
        seed: Determines the batch.
        size: The side S.
        textures: The number P.
        samples: The number n.
    """
    generator = torch.Generator().manual_seed(seed)
    fixed = torch.rand(textures, generator=generator) < 0.2
    scene = compose(Brush(generator, textures, size, fixed, samples))
    brush = Brush(generator, textures, size, torch.zeros_like(fixed), samples)
    damaged = damage(brush, scene)
    posed = pose(brush, torch.cat([damaged, changed(scene, damaged)], 1))
    return Photographs(photograph(brush, posed[:, :3]), posed[:, 3] > VISIBLE, samples)


def compose(brush: Brush) -> Tensor:
    """Draw scenes (nP, 3, S, S): one texture, or two of them mixed by a third; often with specks."""
    field = fields(brush)
    second, mask = (swapped(brush, field) for _ in range(2))
    mask = ((mask - brush.common(0.2, 0.8, 1, 1)) * brush.scale(1, 20, 1, 1) + 0.5).clamp(0, 1)
    mask = mask * brush.chance(0.3, 1, 1)
    shade = 1 - brush.common(0, 0.6, 1, 1) * brush.chance(0.3, 1, 1) * second
    shade = shade * (1 + specks(brush) * brush.chance(0.4, 1, 1))
    colours = torch.lerp(colour(brush, field), colour(brush, second), mask[:, None])
    return (colours * shade[:, None]).clamp(0, 1)


def specks(brush: Brush) -> Tensor:
    """Draw small darker and brighter spots (nP, S, S), as normal material has them."""
    noise = smooth_noise(brush.normal(brush.size, brush.size), brush.scale(0.8, 3, 1, 1))
    height = (noise.abs() - brush.common(1.8, 3, 1, 1)) / 0.4
    return brush.common(-0.6, 0.6, 1, 1) * noise.sign() * (height + 0.5).clamp(0, 1)


def fields(brush: Brush) -> Tensor:
    """Draw each texture from a random family, of shape (nP, S, S)."""
    families, weights = list(FAMILIES), torch.tensor([*FAMILIES.values()], dtype=torch.float)
    chosen = torch.multinomial(weights, brush.textures, replacement=True, generator=brush.generator).tolist()
    brushes = [Brush(brush.generator, 1, brush.size, same, brush.samples) for same in brush.fixed.split(1)]
    return torch.stack([families[i](one) for i, one in zip(chosen, brushes, strict=True)], 1).flatten(0, 1)


def swapped(brush: Brush, values: Tensor) -> Tensor:
    """Give each texture the values (nP, S, S) of another one; where the scene is fixed, those of its first sample."""
    order = torch.randperm(brush.textures, generator=brush.generator)
    values = values.unflatten(0, (brush.samples, -1))[:, order]
    return torch.where(brush.fixed[:, None, None], values[:1], values).flatten(0, 1)


def colour(brush: Brush, field: Tensor, nodes: int = 4) -> Tensor:
    """Map the values of a field (nP, S, S) to a random palette, often grey or faint."""
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


def pose(brush: Brush, scene: Tensor) -> Tensor:
    """Rotate and shift each photograph a little, as parts never lie in quite the same place."""
    angle, shift = 0.1 * (brush.own(1, 1) - 0.5), 0.08 * (brush.own(2, 1) - 0.5)
    turn = torch.cat([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], 1).view(-1, 2, 2)
    grid = F.affine_grid(torch.cat([turn, shift], 2), list(scene.shape), align_corners=False)
    return F.grid_sample(scene, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def photograph(brush: Brush, scene: Tensor) -> Tensor:
    """Add light from a side, blur and grain to a scene, different in each photograph."""
    ramp = (brush.own(1, 1) - 0.5) * brush.rows / brush.size + (brush.own(1, 1) - 0.5) * brush.columns / brush.size
    light = 0.7 + 0.6 * brush.own(1, 1) + 0.6 * ramp
    padded = F.pad(scene, (1, 1, 1, 1), mode="replicate")
    blurred = (padded[..., :-2, 1:-1] + padded[..., 2:, 1:-1] + padded[..., 1:-1, :-2] + padded[..., 1:-1, 2:]) / 4
    scene = torch.lerp(scene, blurred, brush.own(1, 1, 1))
    grain = 0.025 * brush.own(1, 1, 1) * torch.randn(scene.shape, generator=brush.generator)
    return (scene * light[:, None] + grain).clamp(0, 1)
