"""The loss that the encoder is pretrained with."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.spatial.distance import mahalanobis

from pretraining.objective import SHRINKAGE, classify_patches, loss, patch_distances, ranking_loss
from pretraining.scenes import Photographs, draw


def test_distances_are_mahalanobis_distances_from_the_normal_patches_of_the_other_photographs(generator) -> None:
    """SciPy computes the same from the patches themselves, with correlations shrunk by hand."""
    maps = torch.randn(6, 3, 5, 4, generator=generator) * torch.tensor([1.0, 3.0, 0.5]).view(3, 1, 1)
    maps[:, 1] += maps[:, 0]
    normal = torch.rand(6, 1, 5, 4, generator=generator) < 0.8
    actual = patch_distances(maps, normal, samples=3)
    for i, others in [(0, [2, 4]), (3, [1, 5])]:
        known = torch.cat([maps[j].flatten(1).T[normal[j].flatten()] for j in others]).double().numpy()
        covariance = np.cov(known.T, bias=True)
        spread = np.sqrt(np.diag(covariance) + 1e-4)
        correlation = (1 - SHRINKAGE) * covariance / np.outer(spread, spread) + SHRINKAGE * np.eye(3)
        inverse = np.linalg.inv(correlation * np.outer(spread, spread))
        expected = [mahalanobis(x, known.mean(0), inverse) ** 2 / 3 for x in maps[i].flatten(1).T.double().numpy()]
        assert np.allclose(actual[i].flatten(), expected, rtol=1e-3)


def loss_of(normal: torch.Tensor, damaged: torch.Tensor) -> float:
    """Return the loss of distances of normal and damaged patches, each (2P, n) for 2 photographs of P textures."""
    squared = torch.cat([normal, damaged], 1)[:, None, None]
    which = (torch.arange(squared.shape[-1]) < normal.shape[1]).expand_as(squared)
    return float(ranking_loss(squared, which, ~which, 2, torch.Generator().manual_seed(0)))


def test_the_loss_is_above_1_for_damage_that_looks_normal_and_low_for_damage_that_does_not(
    generator: torch.Generator,
) -> None:
    normal, akin = (torch.rand(4, n, generator=generator) for n in (60, 30))
    assert loss_of(normal, akin) > 1
    assert loss_of(normal, akin + 20) < 0.1


def test_the_loss_is_that_of_ratios_within_a_texture() -> None:
    """The loss of three times the distance is log2(1 + 1/9), for textures of any scale."""
    scale = torch.tensor([1.0, 100.0, 1.0, 100.0])[:, None]
    assert loss_of(scale.expand(-1, 5), 3 * scale.expand(-1, 4)) == pytest.approx(math.log2(10 / 9), abs=1e-3)


def test_patches_beside_damage_are_neither_normal_nor_damaged() -> None:
    damage = torch.zeros(1, 1, 16, 16)
    damage[0, 0, 1, 2:4] = 1
    normal, damaged = classify_patches(damage, torch.Size((4, 4)))
    assert (~normal[0, 0]).nonzero().tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert damaged[0, 0].nonzero().tolist() == [[0, 0]]


def test_the_loss_is_the_mean_over_maps_and_their_mean_patch_distances(generator: torch.Generator) -> None:
    """With few patches all are compared: nothing is random."""
    fine, coarse = (torch.randn(4, 3, side, side, generator=generator) for side in (8, 4))
    damage = torch.zeros(4, 16, 16, dtype=torch.bool)
    damage[:, :5, :5] = True
    distances = [
        patch_distances(m, classify_patches(damage[:, None].float(), m.shape[-2:])[0], 2) for m in (fine, coarse)
    ]
    distances.append((distances[0] + F.interpolate(distances[1], (8, 8), mode="bilinear")) / 2)
    terms = [ranking_loss(o, *classify_patches(damage[:, None].float(), o.shape[-2:]), 2, generator) for o in distances]
    value = loss([fine, coarse], Photographs(torch.zeros(4, 3, 16, 16), damage, 2), generator)
    assert float(value) == pytest.approx(float(torch.stack(terms).mean()), rel=1e-5)


def test_a_few_high_distances_of_normal_patches_count_as_half_of_them(generator: torch.Generator) -> None:
    """The highest distances cause false alarms."""
    normal, damaged = torch.rand(2, 4000, generator=generator), 5 + torch.rand(2, 30, generator=generator)
    odd = normal.clone()
    odd[:, :100] += 5
    assert loss_of(odd, damaged) > loss_of(normal, damaged) + 0.4


def test_the_loss_is_zero_and_has_a_gradient_if_nothing_is_damaged(generator: torch.Generator) -> None:
    maps = torch.randn(4, 8, 6, 6, generator=generator, requires_grad=True)
    value = loss([maps], Photographs(torch.rand(4, 3, 24, 24), torch.zeros(4, 24, 24, dtype=torch.bool), 2), generator)
    value.backward()
    assert value == 0
    assert maps.grad is not None
    assert maps.grad.isfinite().all()


def test_a_texture_without_normal_patches_is_ignored(generator: torch.Generator) -> None:
    maps = torch.randn(4, 8, 6, 6, generator=generator, requires_grad=True)
    damage = torch.zeros(4, 24, 24, dtype=torch.bool)
    damage[0], damage[2], damage[1, :4, :4] = True, True, True
    value = loss([maps], Photographs(torch.rand(4, 3, 24, 24), damage, 2), generator)
    value.backward()
    assert maps.grad is not None
    assert maps.grad.isfinite().all()
    alone = loss([maps[[1, 3]]], Photographs(torch.zeros(2, 3, 24, 24), damage[[1, 3]], 2), generator)
    assert value.item() == pytest.approx(alone.item(), rel=0.2)


def test_maps_that_show_the_damage_have_a_lower_loss(generator: torch.Generator) -> None:
    photographs = draw(1, 64)
    noise = 0.1 * torch.randn(len(photographs.images), 1, 64, 64, generator=generator)
    blind, seeing = (loss([m], photographs, generator) for m in (noise, noise + photographs.damage[:, None]))
    assert seeing < 0.3 < 0.8 < blind
