"""Thresholds keep the rate of false alarms that was asked for: exactly, also with ties, and in simulations."""

import warnings
from fractions import Fraction

import numpy as np
import pytest
import torch
from scipy.stats import binom

from anomalib_flows.core.errors import InputError
from anomalib_flows.inference.fitting import calibrate_postprocess, conformal_threshold, place, set_thresholds
from anomalib_flows.models.postprocess import Postprocess
from anomalib_flows.run.decision import AREAS, DecisionOptions, ThresholdRule

RATES = ["0.001", "0.01", "0.02", "0.05", "0.07", "0.1", "0.25", "0.29", "0.3", "0.5", "0.58", "0.9", "0.99"]


def calibrated(scores: torch.Tensor, rate: float) -> Postprocess:
    """A postprocess with these calibration scores, one pixel a map."""
    post = Postprocess()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        calibrate_postprocess(post, scores.view(-1, 1, 1, 1), rate)
    return post


def p_value_at_most(rate: Fraction, scores: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor:
    """Compare in whole numbers, so without rounding."""
    at_least = (scores[None] >= candidates[:, None]).sum(1)
    return (1 + at_least) * rate.denominator <= rate.numerator * (len(scores) + 1)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("rate", RATES)
def test_a_label_says_that_the_p_value_is_at_most_the_rate(rate, ties) -> None:
    exact, generator = Fraction(rate), torch.Generator().manual_seed(0)
    for n in range(1, 301):
        scores = torch.randint(max(2, n // 3), (n,), generator=generator).float() if ties else torch.randperm(n).float()
        candidates = torch.cat((scores, scores + 0.5, scores.min()[None] - 1))
        prediction = calibrated(scores, float(rate))(candidates.view(-1, 1, 1, 1))
        if exact * (n + 1) < 1:  # too few images: only what lies above all of them
            assert torch.equal(prediction.labels.bool(), candidates > scores.max()), f"{n} images"
            continue
        expected = p_value_at_most(exact, scores, candidates)
        assert torch.equal(prediction.labels.bool(), expected), f"{n} images"
        # Who reads p-values off the predictions and compares them with the rate decides alike.
        assert torch.equal(prediction.p_values <= float(rate), expected), f"{n} images"


@pytest.mark.parametrize("discrete", [False, True])
@pytest.mark.parametrize(("n", "rate"), [(19, 0.05), (50, 0.1), (99, 0.01), (200, 0.02), (9, 0.35)])
def test_false_alarms_keep_to_the_rate_on_exchangeable_draws(n, rate, discrete) -> None:
    runs, rng = 4000, np.random.default_rng(n)
    draws = rng.gamma(2.0, size=(runs, n + 1))
    # Exchangeable, but far from independent: every run has a level of its own.
    draws += rng.normal(size=(runs, 1))
    values = torch.from_numpy(draws.round() if discrete else draws)
    alarms = sum(bool(row[-1] > conformal_threshold(row[:-1], rate)) for row in values)
    # One of a thousand such tests would fail by chance, if the draws were not seeded.
    assert alarms <= binom.ppf(0.999, runs, rate)
    if not discrete:
        true_rate = int(rate * (n + 1) + 1e-9) / (n + 1)
        assert alarms >= binom.ppf(0.001, runs, true_rate)


@pytest.mark.parametrize(("count", "rate", "needed"), [(10, 0.01, 99), (98, 0.01, 99), (1, 0.3, 3), (18, 0.05, 19)])
def test_too_few_images_warn_and_take_the_largest(count, rate, needed) -> None:
    post, scores = Postprocess(), torch.randperm(count).float()
    post.calibration_scores = post.calibration_maxima = scores.sort().values
    with pytest.warns(
        UserWarning, match=rf"Too few calibration images .* {rate:g}, which takes {needed}: there (is|are) {count}\."
    ) as caught:
        set_thresholds(post, rate)
    assert caught[0].filename == __file__
    assert float(post.image_threshold) == count - 1


@pytest.mark.parametrize(("count", "rate"), [(99, 0.01), (19, 0.05), (3, 0.3), (9, 0.1), (999, 0.001)])
def test_just_enough_images_do_not_warn(count, rate) -> None:
    post = Postprocess()
    post.calibration_scores = post.calibration_maxima = torch.arange(float(count))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        set_thresholds(post, rate)


@pytest.mark.parametrize("rate", [0, 1, -0.1, 1.5, 5, float("nan"), float("inf")])
def test_invalid_rates_are_refused(rate) -> None:
    post = Postprocess()
    post.calibration_scores = post.calibration_maxima = torch.arange(50.0)
    with pytest.raises(InputError, match="`false_alarm_rate` cannot be"):
        set_thresholds(post, rate)
    assert not post.calibrated


def test_calibration_keeps_sorted_scores_and_the_typical_value() -> None:
    maps = torch.randn(40, 1, 5, 7, generator=torch.Generator().manual_seed(0))
    post = Postprocess()
    calibrate_postprocess(post, maps, 0.1)
    values = maps.numpy()
    np.testing.assert_array_equal(post.calibration_scores.numpy(), np.sort(values.max((1, 2, 3))))
    assert float(post.typical) == np.sort(values.ravel())[values.size // 2 - 1]
    assert float(post.image_threshold) == float(post.pixel_threshold) == float(post.calibration_scores[-4])


def test_thresholds_for_another_rate_need_no_images() -> None:
    post = Postprocess()
    calibrate_postprocess(post, torch.randn(99, 1, 2, 2, generator=torch.Generator().manual_seed(0)), 0.01)
    strict = float(post.image_threshold)
    set_thresholds(post, 0.2)
    assert float(post.image_threshold) == float(post.pixel_threshold) == float(post.calibration_scores[-20])
    set_thresholds(post, 0.01)
    assert float(post.image_threshold) == strict


def test_lower_rates_give_higher_thresholds() -> None:
    scores = torch.randn(300, generator=torch.Generator().manual_seed(0))
    thresholds = [float(conformal_threshold(scores, float(rate))) for rate in RATES]
    assert thresholds == sorted(thresholds, reverse=True)


def maps_of(count: int, side: int = 40, seed: int = 0) -> torch.Tensor:
    """Maps of normal images, each with a level of its own."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 1, side, side, generator=generator) + torch.randn(count, 1, 1, 1, generator=generator)


@pytest.mark.parametrize("value", [0.01, 0.3, 0.5, 0.6, 0.99])
def test_a_threshold_by_hand_is_where_scores_had_that_value(value) -> None:
    post, maps = Postprocess(top_percent=0.5), maps_of(60)
    calibrate_postprocess(post, maps, 0.1)
    typical, before = float(post.typical_score), float(post.image_threshold)
    pixel = float(post.pixel_threshold)
    raw = torch.tensor([typical + 2 * value * (before - typical)])
    torch.testing.assert_close(post.normalise_scores(raw), torch.tensor([value]))
    post.move_thresholds(value, None)
    torch.testing.assert_close(post.normalise_scores(raw), torch.tensor([0.5]))
    assert float(post.normalise_scores(post.image_threshold[None])) == 0.5
    assert float(post.pixel_threshold) == pixel
    post.move_thresholds(None, value)
    typical = float(post.typical)
    assert float(post.pixel_threshold) == pytest.approx(typical + 2 * value * (pixel - typical), rel=1e-5)


def test_thresholds_by_hand_add_up_and_can_be_set_again() -> None:
    post, maps = Postprocess(), maps_of(99)
    calibrate_postprocess(post, maps, 0.05)
    half = post.image_threshold
    post.move_thresholds(0.6, None)
    post.move_thresholds(0.7, None)
    recorded = place(post.image_threshold, post.typical_score, half)
    assert recorded == pytest.approx(2 * 0.6 * 0.7)
    moved = float(post.image_threshold)
    set_thresholds(post, 0.05, ThresholdRule(image=recorded))
    assert float(post.image_threshold) == pytest.approx(moved, rel=1e-6)
    set_thresholds(post, 0.05)
    assert post.image_threshold == half


def test_a_threshold_by_hand_says_nothing_of_a_rate() -> None:
    post = Postprocess()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        calibrate_postprocess(post, maps_of(5), 0.01, ThresholdRule(image=0.6))
    with pytest.warns(UserWarning, match="Too few calibration images for a false-alarm rate of 0.01"):
        calibrate_postprocess(post, maps_of(5), 0.01, ThresholdRule(pixel=0.6))


@pytest.mark.parametrize("area", AREAS)
def test_masks_exceed_their_area_in_as_many_calibration_images_as_the_rate_allows(area) -> None:
    post, maps = Postprocess(), maps_of(49)
    calibrate_postprocess(post, maps, 0.1, ThresholdRule(mask_area=area))
    shares = 100 * (maps > post.pixel_threshold).flatten(1).float().mean(1)
    assert int((shares > area + 1e-4).sum()) == 4  # k = floor(0.1 * 50) = 5 are at or above the threshold
    highest = maps.flatten(1).sort(descending=True).values[:, int(area * 16 + 1e-9)]
    assert torch.equal(post.calibration_levels(area), highest.sort().values)


def test_new_masks_exceed_their_area_at_no_higher_rate() -> None:
    exceeded = 0
    for seed in range(400):
        maps, post = maps_of(20, side=12, seed=seed), Postprocess()
        calibrate_postprocess(post, maps[:-1], 0.1, ThresholdRule(mask_area=5.0))
        exceeded += bool(post.masks(maps[-1:]).float().mean() > 0.05)
    assert binom.ppf(0.001, 400, 0.1) <= exceeded <= binom.ppf(0.999, 400, 0.1)


def test_larger_areas_lower_the_pixel_threshold_alone() -> None:
    post = Postprocess()
    calibrate_postprocess(post, maps_of(30), 0.1)
    image, found = float(post.image_threshold), []
    for area in AREAS:
        set_thresholds(post, 0.1, ThresholdRule(mask_area=area))
        found.append(float(post.pixel_threshold))
        assert float(post.image_threshold) == image
    assert found == sorted(found, reverse=True)
    assert len(set(found)) == len(AREAS) - 3  # 0.01, 0.02 and 0.05 % of 1600 pixels are less than one


def test_models_of_earlier_versions_have_no_areas() -> None:
    post = Postprocess(10)
    post.calibration_scores = post.calibration_maxima = torch.arange(10.0)
    set_thresholds(post, 0.2)
    with pytest.raises(InputError, match="`decision.mask_area` needs values .* give `images`"):
        set_thresholds(post, 0.2, ThresholdRule(mask_area=0.1))


@pytest.mark.parametrize("area", [-1, 0.03, 100, float("nan")])
def test_only_areas_that_models_keep_are_possible(area) -> None:
    with pytest.raises(InputError, match="`decision.mask_area` cannot be .* one of 0, 0.01, .*, 10, in percent"):
        DecisionOptions(mask_area=area)
