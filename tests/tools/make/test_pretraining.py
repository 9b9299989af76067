"""What the encoder is pretrained on, and for what."""

import argparse
import math
import subprocess
import sys
from pathlib import Path
from threading import Event

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from scipy.spatial.distance import mahalanobis

from anomalib_flows.encoders.encoder import Encoder
from pretrain_encoder import Pretraining, run
from pretraining import scenes
from pretraining.brush import Brush, smooth_noise
from pretraining.damage import DAMAGES, SHAPES, Place, changed, damage, fetched, place, twisted
from pretraining.objective import SHRINKAGE, judged, loss, oddness, ranking_loss
from pretraining.scenes import Photographs, compose, draw
from pretraining.textures import FAMILIES

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture
def brush() -> Brush:
    return Brush(torch.Generator().manual_seed(3), 4, 64, torch.tensor([True, True, False, False]), samples=3)


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


def test_oddness_is_the_mahalanobis_distance_from_the_sound_patches_of_the_other_photographs(generator) -> None:
    """SciPy gets the same from the patches themselves, correlations shrunk by hand."""
    maps = torch.randn(6, 3, 5, 4, generator=generator) * torch.tensor([1.0, 3.0, 0.5]).view(3, 1, 1)
    maps[:, 1] += maps[:, 0]
    sound = torch.rand(6, 1, 5, 4, generator=generator) < 0.8
    actual = oddness(maps, sound, samples=3)
    for i, others in [(0, [2, 4]), (3, [1, 5])]:
        known = torch.cat([maps[j].flatten(1).T[sound[j].flatten()] for j in others]).double().numpy()
        covariance = np.cov(known.T, bias=True)
        spread = np.sqrt(np.diag(covariance) + 1e-4)
        correlation = (1 - SHRINKAGE) * covariance / np.outer(spread, spread) + SHRINKAGE * np.eye(3)
        inverse = np.linalg.inv(correlation * np.outer(spread, spread))
        expected = [mahalanobis(x, known.mean(0), inverse) ** 2 / 3 for x in maps[i].flatten(1).T.double().numpy()]
        assert np.allclose(actual[i].flatten(), expected, rtol=1e-3)


def ranks(sound: torch.Tensor, damaged: torch.Tensor) -> float:
    """Loss of distances (2 photographs of P textures) that are sound or damaged, of shape (2P, n) each."""
    squared = torch.cat([sound, damaged], 1)[:, None, None]
    which = (torch.arange(squared.shape[-1]) < sound.shape[1]).expand_as(squared)
    return float(ranking_loss(squared, which, ~which, 2, torch.Generator().manual_seed(0)))


def test_damage_that_looks_sound_costs_more_than_one_and_telling_it_less(generator: torch.Generator) -> None:
    sound, akin = (torch.rand(4, n, generator=generator) for n in (60, 30))
    assert ranks(sound, akin) > 1
    assert ranks(sound, akin + 20) < 0.1


def test_the_loss_is_that_of_ratios_within_a_texture() -> None:
    """Three times as odd costs log2(1 + 1/9), however far apart the textures are."""
    scale = torch.tensor([1.0, 100.0, 1.0, 100.0])[:, None]
    assert ranks(scale.expand(-1, 5), 3 * scale.expand(-1, 4)) == pytest.approx(math.log2(10 / 9), abs=1e-3)


def test_patches_beside_damage_are_neither_sound_nor_damaged() -> None:
    damage = torch.zeros(1, 1, 16, 16)
    damage[0, 0, 1, 2:4] = 1
    sound, damaged = judged(damage, torch.Size((4, 4)))
    assert (~sound[0, 0]).nonzero().tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert damaged[0, 0].nonzero().tolist() == [[0, 0]]


def test_the_loss_is_the_mean_over_maps_and_their_mean_oddness(generator: torch.Generator) -> None:
    """With so few patches all are compared, so that chance plays no part."""
    fine, coarse = (torch.randn(4, 3, side, side, generator=generator) for side in (8, 4))
    damage = torch.zeros(4, 16, 16, dtype=torch.bool)
    damage[:, :5, :5] = True
    oddities = [oddness(m, judged(damage[:, None].float(), m.shape[-2:])[0], 2) for m in (fine, coarse)]
    oddities.append((oddities[0] + F.interpolate(oddities[1], (8, 8), mode="bilinear")) / 2)
    terms = [ranking_loss(o, *judged(damage[:, None].float(), o.shape[-2:]), 2, generator) for o in oddities]
    value = loss([fine, coarse], Photographs(torch.zeros(4, 3, 16, 16), damage, 2), generator)
    assert float(value) == pytest.approx(float(torch.stack(terms).mean()), rel=1e-5)


def test_a_few_odd_sound_patches_cost_as_much_as_if_half_were(generator: torch.Generator) -> None:
    """False alarms are made of the oddest."""
    sound, damaged = torch.rand(2, 4000, generator=generator), 5 + torch.rand(2, 30, generator=generator)
    odd = sound.clone()
    odd[:, :100] += 5
    assert ranks(odd, damaged) > ranks(sound, damaged) + 0.4


def test_the_loss_is_zero_and_can_be_differentiated_where_nothing_is_damaged(generator: torch.Generator) -> None:
    maps = torch.randn(4, 8, 6, 6, generator=generator, requires_grad=True)
    value = loss([maps], Photographs(torch.rand(4, 3, 24, 24), torch.zeros(4, 24, 24, dtype=torch.bool), 2), generator)
    value.backward()
    assert value == 0
    assert maps.grad is not None
    assert maps.grad.isfinite().all()


def test_a_texture_without_sound_patches_does_no_harm(generator: torch.Generator) -> None:
    maps = torch.randn(4, 8, 6, 6, generator=generator, requires_grad=True)
    damage = torch.zeros(4, 24, 24, dtype=torch.bool)
    damage[0], damage[2], damage[1, :4, :4] = True, True, True
    value = loss([maps], Photographs(torch.rand(4, 3, 24, 24), damage, 2), generator)
    value.backward()
    assert maps.grad is not None
    assert maps.grad.isfinite().all()
    alone = loss([maps[[1, 3]]], Photographs(torch.zeros(2, 3, 24, 24), damage[[1, 3]], 2), generator)
    assert value.item() == pytest.approx(alone.item(), rel=0.2)


def test_another_recipe_does_not_go_on_with_a_training(tmp_path: Path) -> None:
    pretrain(tmp_path, "--smoke")
    with pytest.raises(subprocess.CalledProcessError) as failed:
        pretrain(tmp_path, "--smoke", "--seed", "1")
    assert b"name another folder" in failed.value.stderr


def test_maps_that_show_the_damage_have_a_lower_loss(generator: torch.Generator) -> None:
    photographs = draw(1, 64)
    noise = 0.1 * torch.randn(len(photographs.images), 1, 64, 64, generator=generator)
    blind, seeing = (loss([m], photographs, generator) for m in (noise, noise + photographs.damage[:, None]))
    assert seeing < 0.3 < 0.8 < blind


def pretrain(output: Path, *options: str) -> None:
    command = [sys.executable, str(TOOLS / "pretrain_encoder.py"), "--output", str(output), "--device", "cpu"]
    subprocess.run([*command, *options], check=True, capture_output=True)


def test_the_tool_runs_and_its_weights_are_those_of_the_encoder(tmp_path: Path) -> None:
    pretrain(tmp_path, "--smoke")
    file = tmp_path / "texture13.safetensors"
    weights = load_file(file)
    assert file.stat().st_size < 5e6
    assert all(t.dtype == torch.float16 for t in weights.values())
    encoder = Encoder((64, 64), "texture13", weights=file)
    state = encoder.network.state_dict()
    assert torch.equal(state["stem.conv.weight"], weights["stem.conv.weight"].float())
    step, value, _ = (tmp_path / "log.csv").read_text().split(",")
    assert step == "2"
    assert math.isfinite(float(value))


def test_an_interrupted_training_ends_like_one_that_was_not(tmp_path: Path) -> None:
    class StoppedError(RuntimeError):
        pass

    def batches(start: int, stop: int):
        for i in range(start, 3):
            if i == stop:
                raise StoppedError
            yield draw(i, 64, textures=5)

    def begin(name: str) -> Pretraining:
        (tmp_path / name).mkdir(exist_ok=True)
        return Pretraining(
            argparse.Namespace(output=tmp_path / name, steps=3, size=64, textures=5, seed=0, device="cpu")
        )

    whole = begin("whole")
    run(whole, batches(0, 9), Event())
    first = begin("parts")
    with pytest.raises(StoppedError):
        run(first, batches(0, 1), Event())
    first.save()
    second = begin("parts")
    second.resume()
    run(second, batches(1, 9), Event())
    for (name, a), b in zip(whole.network.state_dict().items(), second.network.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
