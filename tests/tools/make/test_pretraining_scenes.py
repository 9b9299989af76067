"""The drawn images that the encoder is pretrained on."""

import math

import pytest
import torch
import torch.nn.functional as F

from pretraining import scenes
from pretraining.brush import Brush, smooth_noise
from pretraining.damage import DAMAGES, SHAPES, Place, changed, damage, fetched, place, twisted
from pretraining.scenes import compose, draw
from pretraining.textures import FAMILIES


def test_a_batch_depends_on_its_seed_only() -> None:
    first, again, other = draw(5, 64), draw(5, 64), draw(6, 64)
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.damage, again.damage)
    assert not torch.equal(first.images, other.images)


def test_images_are_images_and_some_of_each_batch_is_damaged_but_not_most() -> None:
    photographs = draw(0, 64, textures=20)
    assert photographs.images.shape == (80, 3, 64, 64)
    assert 0 <= photographs.images.min() < 0.2
    assert 0.8 < photographs.images.max() <= 1
    shares = photographs.damage.float().mean((1, 2))
    assert 0.005 < shares.mean() < 0.25
    assert (shares == 0).any()


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.__name__)
def test_a_texture_is_the_same_where_the_scene_is_fixed_and_akin_where_it_is_not(family, brush: Brush) -> None:
    field = family(brush)
    assert field.shape == (12, 64, 64)
    assert field.isfinite().all()
    assert torch.equal(field[:2], field[4:6])
    assert torch.equal(field[:2], field[8:10])
    assert not torch.equal(field[2:4], field[6:8])
    assert (field.std((1, 2)) > 0.01).float().mean() > 0.7
    assert field.min() > -0.2
    assert field.max() < 1.2


@pytest.mark.parametrize("number", range(len(DAMAGES)))
def test_every_damage_changes_a_scene_and_keeps_its_shape(number: int, brush: Brush, generator) -> None:
    scene, other = torch.rand(2, 3, 64, 64, generator=generator)
    where = Place(*(part[0] for part in place(brush)))
    spoilt = DAMAGES[number](scene, other, where._replace(radius=torch.full((1, 1), 12.0)), 0.9)
    assert spoilt.shape == scene.shape
    assert spoilt.isfinite().all()
    assert (spoilt - scene).abs().mean() > 0.01


@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: s.__name__)
def test_the_shapes_of_damage_are_opacities_around_their_place(shape, brush: Brush) -> None:
    where = place(brush)
    opacity, distance = shape(brush, where), torch.hypot(where.along, where.across)
    assert opacity.min() >= 0
    assert 0.3 < opacity.max() <= 1
    assert (opacity[distance > 4 * where.radius + 8] < 0.01).all()


def test_pixels_are_fetched_from_further_down_and_across(generator: torch.Generator) -> None:
    scene = torch.rand(3, 64, 64, generator=generator)
    moved = fetched(scene, torch.full((64, 64), 5.0), torch.full((64, 64), -3.0))
    assert torch.allclose(moved[:, 8:-8, 8:-8], scene.roll((-5, 3), (1, 2))[:, 8:-8, 8:-8], atol=1e-4)


def test_a_twist_by_a_right_angle_turns_the_middle(generator: torch.Generator) -> None:
    scene, line = torch.rand(3, 64, 64, generator=generator), torch.arange(64.0)
    columns, rows = (line - 35).expand(64, 64), (line - 30)[:, None].expand(64, 64)
    where = Place(rows, columns, columns, rows, torch.full((1, 1), 100.0), torch.zeros(64, 64))
    turned = twisted(scene, where, math.pi / 2 - 0.6)
    expected = torch.rot90(scene[:, 20:41, 25:46], -1, (1, 2))
    assert torch.allclose(turned[:, 20:41, 25:46], expected, atol=0.05)


def test_a_place_lies_where_its_direction_says(brush: Brush) -> None:
    where = place(brush)
    distance = torch.hypot(where.rows, where.columns)
    assert torch.allclose(torch.hypot(where.along, where.across), distance, rtol=1e-4, atol=1e-3)
    assert (distance.amin((1, 2)) < 1).all()


def test_the_mask_lies_where_the_damage_is_photographed(monkeypatch) -> None:
    monkeypatch.setattr(scenes, "compose", lambda brush: torch.zeros(brush.samples * brush.textures, 3, 64, 64))
    monkeypatch.setattr(scenes, "damage", lambda _, scene: scene + F.pad(torch.ones(1, 1, 20, 22), (8, 34, 20, 24)))
    photographs = draw(0, 64)
    assert ((photographs.images.mean(1) > 0.25) != photographs.damage).float().mean() < 0.006


def test_a_fixed_scene_is_the_same_in_every_photograph(brush: Brush) -> None:
    fixed = torch.arange(12) % 2 == 0
    scene = compose(Brush(brush.generator, 12, 64, fixed, 3)).unflatten(0, (3, -1))
    same = (scene == scene[:1]).flatten(2).all(2).all(0)
    assert torch.equal(same, fixed)


def test_damage_is_local(brush: Brush, generator: torch.Generator) -> None:
    scene = torch.rand(12, 3, 64, 64, generator=generator)
    untouched = (damage(brush, scene) == scene).all(1).float().mean((1, 2))
    assert untouched.min() > 0.3
    assert untouched.mean() < 1


def test_what_has_changed_has_no_gaps() -> None:
    scene = torch.zeros(1, 3, 32, 32)
    stripes = scene.clone()
    stripes[:, 1, 8:20:3, 8:20] = 0.5
    assert (changed(scene, stripes)[0, 0, 8:18, 8:20] == 0.5).all()
    assert changed(scene, stripes)[0, 0, :6].max() == 0


def test_smooth_noise_has_the_spectrum_of_a_gaussian() -> None:
    """Its correlation at a distance of twice the width is exp(-1)."""
    noise = smooth_noise(torch.randn(400, 64, 64, generator=torch.Generator().manual_seed(0)), 1.5)
    assert noise.std() == pytest.approx(1, abs=1e-3)
    assert (noise * noise.roll(3, 2)).mean() == pytest.approx(math.exp(-1), abs=0.02)
