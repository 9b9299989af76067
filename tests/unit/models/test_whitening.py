"""Whitening is what scikit-learn calls Mahalanobis distance and standard scaling; means are drawn together rightly."""

import numpy as np
import pytest
import torch
from sklearn.covariance import OAS, EmpiricalCovariance
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from anomalib_flows.models.components.whitening import Moments, Whitening, fit_whitening, oracle_shrinkage, pca_cor


def features(images: int = 40, channels: int = 5, height: int = 6, width: int = 7, offset: float = 50.0) -> Tensor:
    """Draw correlated channels of different scales, far from zero."""
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(channels, channels, generator=generator) * torch.logspace(-0.5, 0.5, channels)[:, None]
    values = torch.randn(images, channels, height, width, generator=generator)
    return torch.einsum("dc,bchw->bdhw", mixing, values) + offset


def moments(*batches: Tensor) -> Moments:
    result = Moments()
    for batch in batches:
        result.add(batch)
    return result


def whitening(x: Tensor, **options) -> Whitening:
    made = Whitening(tuple(x.shape[1:]), **options)
    made.set(moments(*x.split(7)))
    return made


def rows(x: Tensor) -> np.ndarray:
    return x.movedim(1, -1).flatten(0, -2).double().numpy()


def decorrelated(x: Tensor) -> Tensor:
    """Whiten without any shrinkage, as if there were vectors without end."""
    found = moments(x)
    mean = found.local_mean().mean((1, 2), keepdim=True)
    matrix = pca_cor(found.covariance(mean), 0.0, vectors=10**12)
    return torch.einsum("dc,bchw->bdhw", matrix, x.double() - mean)


def test_squared_lengths_are_mahalanobis_distances() -> None:
    x = features()
    lengths = decorrelated(x).square().sum(1).flatten()
    expected = EmpiricalCovariance().fit(rows(x)).mahalanobis(rows(x))
    np.testing.assert_allclose(lengths, expected, rtol=1e-2, atol=1e-3)


def test_full_shrinkage_standardises_each_channel() -> None:
    x = features()
    whitened = whitening(x, shrinkage=1.0, local_mean=False)(x)
    np.testing.assert_allclose(rows(whitened), StandardScaler().fit_transform(rows(x)), atol=2e-3)


def test_channels_become_uncorrelated() -> None:
    np.testing.assert_allclose(np.cov(rows(decorrelated(features())), rowvar=False), np.eye(5), atol=1e-2)


@pytest.mark.parametrize("shrinkage", [0.1, 0.3])
def test_shrinkage_blows_no_direction_up(shrinkage: float) -> None:
    x = features()
    covariance = np.cov(rows(whitening(x, shrinkage=shrinkage, local_mean=False)(x)), rowvar=False)
    assert np.linalg.eigvalsh(covariance).max() < 1 / (1 - shrinkage) + 0.02
    assert np.linalg.eigvalsh(covariance).min() < 0.9


def test_channels_are_the_principal_components_of_the_standardised_channels() -> None:
    x = features()
    found = rows(decorrelated(x))
    expected = PCA(whiten=True).fit_transform(StandardScaler().fit_transform(rows(x)))
    same = np.sign((found * expected).sum(0))  # scikit-learn has another rule for the signs
    np.testing.assert_allclose(found, same * expected, rtol=0, atol=2e-2)


def test_the_components_that_are_kept_are_those_of_the_largest_variance() -> None:
    x = features()
    some, every = (whitening(x, shrinkage=0.1, components=count) for count in (2, None))
    assert some(x).shape == (40, 2, 6, 7)
    torch.testing.assert_close(some(x), every(x)[:, :2])
    assert torch.equal(Whitening((5, 6, 7), components=2)(x), x[:, :2])


def test_the_largest_weight_of_a_component_is_positive() -> None:
    found = moments(features())
    covariance = found.covariance(found.local_mean().mean((1, 2), keepdim=True))
    loadings = pca_cor(covariance, 0.0, vectors=10**12) * covariance.diagonal().sqrt()
    assert (loadings.gather(1, loadings.abs().argmax(1, keepdim=True)) > 0).all()


@pytest.mark.parametrize("local_mean", [True, False])
def test_batches_do_not_matter(local_mean: bool) -> None:
    x = features()
    one, many = (Whitening((5, 6, 7), local_mean=local_mean) for _ in range(2))
    one.set(moments(x))
    many.set(moments(*x.split([1, 30, 9])))
    torch.testing.assert_close(one(x), many(x), rtol=1e-3, atol=1e-3)


def test_means_of_positions_that_differ_by_chance_become_one() -> None:
    x = features()
    overall = x.mean((0, 2, 3))[:, None, None]
    apart, plain = (whitening(x, local_mean=True).mean - overall).square().mean((1, 2)), (x.mean(0) - overall).square()
    assert (apart < 0.05 * plain.mean((1, 2))).all()


def test_means_of_positions_that_differ_stay() -> None:
    pattern = 100 * torch.randn(5, 6, 7, generator=torch.Generator().manual_seed(1))
    x = features() + pattern
    made = whitening(x, local_mean=True)
    torch.testing.assert_close(made.mean, x.mean(0), rtol=1e-3, atol=0.1)
    assert float(made(x).mean(0).abs().max()) < 0.02


def test_light_that_changes_from_image_to_image_does_not_hide_positions() -> None:
    generator = torch.Generator().manual_seed(2)
    pattern, light = torch.randn(5, 6, 7, generator=generator), 10 * torch.randn(8, 5, 1, 1, generator=generator)
    x = pattern + light + 0.1 * torch.randn(8, 5, 6, 7, generator=generator)
    kept = whitening(x, local_mean=True).mean
    torch.testing.assert_close(kept, x.mean(0), rtol=0, atol=0.05)


def test_few_vectors_are_shrunk_as_scikit_learn_shrinks_them() -> None:
    x = features(images=2, channels=30, height=3, width=4)
    scaled = StandardScaler().fit_transform(rows(x))
    correlation = torch.from_numpy(np.corrcoef(rows(x), rowvar=False))
    expected = OAS(assume_centered=True).fit(scaled).shrinkage_
    assert oracle_shrinkage(correlation, len(scaled)) == pytest.approx(expected, rel=1e-6)
    assert 0.05 < expected < 1
    generous = EmpiricalCovariance().fit(rows(whitening(x, shrinkage=0.001, local_mean=False)(x))).covariance_
    assert np.linalg.eigvalsh(generous).max() < 1 / (1 - expected) + 0.01


def test_of_one_image_all_positions_have_one_mean() -> None:
    made = whitening(features(images=1), local_mean=True)
    assert (made.mean == made.mean[:, :1, :1]).all()
    assert made(features(images=1)).isfinite().all()


def test_a_channel_that_never_changes_stays_finite_and_counts_no_more_than_a_hundredfold() -> None:
    x = features(offset=0.0)
    x[:, 2] = 0
    made = whitening(x, shrinkage=0.01)
    other = x.clone()
    other[:, 2] = x.movedim(1, 0).flatten(1).var(1).mean().sqrt()
    assert made(x).isfinite().all()
    torch.testing.assert_close((made(other) - made(x)).abs().amax(), torch.tensor(100.0), rtol=0.05, atol=0)


def test_before_it_is_set_nothing_changes() -> None:
    x = features()
    assert torch.equal(Whitening((5, 6, 7))(x), x)


def test_mixed_precision_does_not_round_what_is_whitened() -> None:
    x = features()
    made = whitening(x)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = made(x)
    assert mixed.dtype == torch.float32
    assert torch.equal(mixed, made(x))
    assert made(x.bfloat16()).dtype == torch.bfloat16


def test_only_whitenings_are_set_and_features_are_read_only_for_them() -> None:
    def batches():
        yield [features(), features()]

    norms = [nn.Identity(), Whitening((5, 6, 7))]
    fit_whitening(norms, batches())
    assert not torch.equal(norms[1].matrix, torch.eye(5))

    def unread():
        raise AssertionError
        yield

    fit_whitening([nn.Identity(), nn.LayerNorm(3)], unread())
