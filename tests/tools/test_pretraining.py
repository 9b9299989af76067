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
from safetensors.torch import load_file
from scipy.spatial.distance import cdist

from anomalib_flows.backbones import Encoder
from pretrain_encoder import Pretraining, run
from pretraining.brush import Brush, smooth_noise
from pretraining.objective import choose, deviation, loss, oddness, ranking_loss
from pretraining.scenes import DAMAGES, damage, draw_pairs
from pretraining.textures import FAMILIES

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture
def brush() -> Brush:
    return Brush(torch.Generator().manual_seed(3), 4, 64, torch.tensor([True, True, False, False]))


def test_a_batch_depends_on_its_seed_only() -> None:
    first, again, other = draw_pairs(5, 64, 1), draw_pairs(5, 64, 1), draw_pairs(6, 64, 1)
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.damage, again.damage)
    assert not torch.equal(first.images, other.images)


def test_images_are_images_and_some_of_each_batch_is_damaged_but_not_most() -> None:
    pairs = draw_pairs(0, 64)
    assert pairs.images.shape == (2 * 2 * len(FAMILIES), 3, 64, 64)
    assert 0 <= pairs.images.min() < 0.2
    assert 0.8 < pairs.images.max() <= 1
    shares = pairs.damage.float().mean((1, 2))
    assert 0.005 < shares.mean() < 0.25
    assert (shares == 0).any()


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.__name__)
def test_a_texture_is_the_same_where_the_scene_is_fixed_and_akin_where_it_is_not(family, brush: Brush) -> None:
    field = family(brush)
    assert field.shape == (8, 64, 64)
    assert field.isfinite().all()
    assert torch.equal(field[:2], field[4:6])
    assert not torch.equal(field[2:4], field[6:])
    assert (field.std((1, 2)) > 0.01).float().mean() > 0.7
    assert field.min() > -0.2
    assert field.max() < 1.2


@pytest.mark.parametrize("number", range(len(DAMAGES)))
def test_every_damage_changes_a_scene_and_keeps_its_shape(number: int, brush: Brush) -> None:
    scene, other, noise = torch.rand(3, 64, 64), torch.rand(3, 64, 64), smooth_noise(brush.normal(64, 64), 6.0)[0]
    spoilt = DAMAGES[number](scene, other, noise, 0.9)
    assert spoilt.shape == scene.shape
    assert (spoilt - scene).abs().mean() > 0.02


def test_damage_is_local(brush: Brush) -> None:
    scene = torch.rand(8, 3, 64, 64)
    untouched = (damage(brush, scene) == scene).all(1).float().mean((1, 2))
    assert untouched.min() > 0.3
    assert untouched.mean() < 1


def test_smooth_noise_has_the_spectrum_of_a_gaussian() -> None:
    """Its correlation at a distance of twice the width is exp(-1)."""
    noise = smooth_noise(torch.randn(400, 64, 64, generator=torch.Generator().manual_seed(0)), 1.5)
    assert noise.std() == pytest.approx(1, abs=1e-3)
    assert (noise * noise.roll(3, 2)).mean() == pytest.approx(math.exp(-1), abs=0.02)


def some(patches: torch.Tensor, *, known: bool = True) -> tuple[torch.Tensor, torch.Tensor]:
    return patches, torch.full(patches.shape[:2], known)


def test_oddness_is_the_distance_from_the_nearest(generator: torch.Generator) -> None:
    """A small softness gives the minimum that SciPy finds."""
    patches, bank = torch.randn(2, 5, 3, generator=generator), torch.randn(2, 9, 3, generator=generator)
    spread = torch.tensor([1.0, 2.0, 0.5]).expand(2, 1, 3)
    actual = oddness(patches, *some(bank), spread, softness=1e-3).exp()
    for i in range(2):
        distances = cdist((patches / spread)[i], (bank / spread)[i], "sqeuclidean") / 3
        assert np.allclose(actual[i], distances.min(1) + 1e-3, rtol=0.01)


def test_oddness_ignores_what_is_not_there(generator: torch.Generator) -> None:
    patches, bank = torch.randn(1, 5, 3, generator=generator), torch.randn(1, 9, 3, generator=generator)
    known, spread = torch.arange(9)[None] < 6, torch.ones(1, 1, 3)
    assert torch.allclose(oddness(patches, bank, known, spread), oddness(patches, *some(bank[:, :6]), spread))


def test_deviation_is_that_of_the_patches_that_are_there(generator: torch.Generator) -> None:
    patches = torch.randn(2, 400, 3, generator=generator) * torch.tensor([1.0, 3.0, 10.0])
    known = torch.rand(2, 400, generator=generator) < 0.5
    expected = torch.stack([p[k].std(0, correction=0) for p, k in zip(patches, known, strict=True)])
    assert torch.allclose(deviation(patches, known)[:, 0], expected, rtol=0.02)


def test_damage_that_looks_sound_costs_more_than_one_and_telling_it_less(generator: torch.Generator) -> None:
    sound, akin, odd = (torch.randn(4, n, 8, generator=generator) for n in (60, 30, 30))
    chance, told = (float(ranking_loss(some(sound), some(damaged))) for damaged in (akin, odd + 5))
    assert chance > 1
    assert told < 0.2


def test_the_loss_compares_with_the_other_photograph_of_the_same_texture(generator: torch.Generator) -> None:
    """Each texture has a place of its own; patches that are at home in another texture are odd."""
    places = 10 * torch.arange(2.0).repeat(2)[:, None, None]  # textures 0, 1, and again 0, 1
    sound = torch.randn(4, 60, 8, generator=generator) + places
    at_home, abroad = torch.randn(2, 4, 30, 8, generator=generator) + torch.stack([places, places.flip(0)])
    assert ranking_loss(some(sound), some(abroad)) < 0.1 < 0.8 < ranking_loss(some(sound), some(at_home))


def test_the_loss_is_zero_and_can_be_differentiated_where_nothing_is_damaged() -> None:
    sound = torch.randn(4, 60, 8, requires_grad=True)
    value = ranking_loss(some(sound), some(torch.randn(4, 30, 8), known=False))
    value.backward()
    assert value == 0
    assert sound.grad is not None
    assert sound.grad.isfinite().all()


def test_a_photograph_without_sound_patches_is_left_out(generator: torch.Generator) -> None:
    patches, known = some(torch.randn(4, 60, 8, generator=generator))
    damaged = some(torch.randn(4, 30, 8, generator=generator))
    known[0] = False
    assert ranking_loss((patches, known), damaged).isfinite()


def test_another_recipe_does_not_go_on_with_a_training(tmp_path: Path) -> None:
    pretrain(tmp_path, "--smoke")
    with pytest.raises(subprocess.CalledProcessError) as failed:
        pretrain(tmp_path, "--smoke", "--seed", "1")
    assert b"name another folder" in failed.value.stderr


def test_patches_are_chosen_where_they_may_be(generator: torch.Generator) -> None:
    patches = torch.arange(32.0).view(2, 16, 1)
    mask = torch.zeros(2, 16, dtype=torch.bool)
    mask[0, :4], mask[1, 5] = True, True
    chosen, known = choose(patches, mask, 3, generator)
    assert set(chosen[0, known[0]].flatten().tolist()) < {0.0, 1.0, 2.0, 3.0}
    assert known.sum(1).tolist() == [3, 1]
    assert chosen[1, known[1]].item() == 21


def test_maps_that_show_the_damage_have_a_lower_loss(generator: torch.Generator) -> None:
    pairs = draw_pairs(1, 64)
    noise = 0.1 * torch.randn(len(pairs.images), 1, 64, 64, generator=generator)
    blind, seeing = (loss([maps], pairs, generator) for maps in (noise, noise + pairs.damage[:, None]))
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
            yield draw_pairs(i, 64, 1)

    def begin(name: str) -> Pretraining:
        (tmp_path / name).mkdir(exist_ok=True)
        return Pretraining(argparse.Namespace(output=tmp_path / name, steps=3, size=64, each=1, seed=0, device="cpu"))

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
