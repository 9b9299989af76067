"""What is usual somewhere does not decide an image's score."""

import pytest
import torch

from anomalib_flows.models.components.local_scale import LocalScale, fit_local_scales


def energies(images: int, spread: float = 0.0) -> torch.Tensor:
    """Energies of a map that is five times as unlikely in its first column."""
    generator = torch.Generator().manual_seed(0)
    usual = torch.ones(4, 6)
    usual[:, 0] = 5.0
    return usual * torch.exp(spread * torch.randn(images, 1, 4, 6, generator=generator))


def test_full_strength_makes_what_is_usual_the_same_everywhere() -> None:
    scale = LocalScale((4, 6), strength=1.0)
    scale.set(energies(10_000).split(1000))
    scaled = scale(energies(1))
    torch.testing.assert_close(scaled, scaled.mean().expand_as(scaled), rtol=0.01, atol=0)


def test_half_the_strength_is_the_geometric_mean_of_all_and_nothing() -> None:
    full, half = LocalScale((4, 6), 1.0), LocalScale((4, 6), 0.5)
    for scale in (full, half):
        scale.set([energies(20, spread=0.5)])
    torch.testing.assert_close(half.factor, full.factor.sqrt())


def test_without_strength_nothing_is_computed_and_nothing_changes() -> None:
    def unread():
        raise AssertionError
        yield

    scale = LocalScale((4, 6), 0.0)
    fit_local_scales([scale], unread())
    assert torch.equal(scale(energies(2)), energies(2))


def test_the_fewer_images_the_less_they_say() -> None:
    factors = []
    for count in (1, 8, 1000):
        scale = LocalScale((4, 6), 1.0)
        scale.set([energies(count)])
        factors.append(float(scale.factor[0, 0] / scale.factor[0, 1]))
    assert 1 > factors[0] > factors[1] > factors[2]
    assert factors[2] == pytest.approx(1 / 5, rel=0.02)


def test_batches_do_not_matter() -> None:
    one, many = LocalScale((4, 6), 0.7), LocalScale((4, 6), 0.7)
    one.set([energies(9, spread=1.0)])
    many.set(energies(9, spread=1.0).split([1, 6, 2]))
    torch.testing.assert_close(one.factor, many.factor)


def test_energies_of_nothing_stay_finite() -> None:
    scale = LocalScale((4, 6), 1.0)
    scale.set([torch.zeros(3, 1, 4, 6)])
    assert (scale.factor == 1).all()


def test_an_infinite_energy_does_not_spoil_other_positions() -> None:
    batch = energies(8)
    batch[0, 0, 1, 1] = float("inf")
    scale = LocalScale((4, 6), 1.0)
    scale.set([batch])
    assert scale.factor.isfinite().all()
    assert (scale.factor > 0).all()
    assert float(scale.factor[1, 1]) == float(scale.factor.min())
