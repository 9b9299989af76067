"""Scores, p-values, labels and masks, against plain loops."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from anomalib_flows.inference.fitting import calibrate_postprocess
from anomalib_flows.models.pipeline import hide_padding
from anomalib_flows.models.postprocess import Postprocess, smooth

levels = st.integers(-5, 5).map(lambda i: i / 4)  # few levels, so that there are many ties
lists = st.lists(levels, min_size=1, max_size=30)


def postprocess_of(scores: list[float], threshold: float = 0.0) -> Postprocess:
    post = Postprocess(len(scores))
    post.calibration_scores = torch.tensor(scores).sort().values
    post.image_threshold = post.pixel_threshold = torch.tensor(threshold)
    return post


@given(lists, lists)
@settings(max_examples=100, deadline=None, derandomize=True, database=None)
def test_p_values_equal_a_plain_count(normal, new) -> None:
    p_values = postprocess_of(normal).p_values(torch.tensor(new))
    expected = [(1 + sum(s >= score for s in normal)) / (len(normal) + 1) for score in new]
    torch.testing.assert_close(p_values, torch.tensor(expected), rtol=1e-6, atol=0)


def test_p_values_without_calibration_are_one() -> None:
    assert Postprocess().p_values(torch.tensor([-1.0, 5.0])).tolist() == [1.0, 1.0]


def test_forward_decides_strictly_above_the_thresholds() -> None:
    maps = torch.tensor([[[[0.0, 0.5]]], [[[0.5, 0.75]]], [[[0.25, 0.0]]]])
    prediction = postprocess_of([0.1, 0.5], threshold=0.5)(maps)
    assert prediction.scores.tolist() == [0.5, 0.75, 0.25]
    assert prediction.labels.tolist() == [0, 1, 0]
    assert prediction.labels.dtype == torch.int64
    assert prediction.masks.flatten(1).tolist() == [[False, False], [False, True], [False, False]]
    assert prediction.maps is maps
    torch.testing.assert_close(prediction.p_values, torch.tensor([2 / 3, 1 / 3, 2 / 3]))


@given(st.integers(1, 4), st.integers(0, 10_000))
@settings(max_examples=50, deadline=None, derandomize=True, database=None)
def test_a_mask_is_empty_exactly_if_the_image_is_normal(batch, seed) -> None:
    generator = torch.Generator().manual_seed(seed)
    post = Postprocess()
    calibrate_postprocess(post, torch.randn(20, 1, 4, 3, generator=generator).round(decimals=1), 0.2)
    prediction = post(torch.randn(batch, 1, 4, 3, generator=generator).round(decimals=1))
    assert prediction.masks.flatten(1).any(1).long().tolist() == prediction.labels.tolist()


def test_an_image_is_judged_by_itself() -> None:
    post = postprocess_of([0.0, 0.3, 0.6], threshold=0.4)
    maps = torch.rand(5, 1, 6, 4, generator=torch.Generator().manual_seed(0))
    together = post(maps)
    for i in range(5):
        alone = post(maps[i : i + 1])
        for field in ("scores", "labels", "p_values", "masks"):
            assert torch.equal(getattr(alone, field)[0], getattr(together, field)[i])


def test_constants_are_part_of_the_model_and_nan_before_calibration() -> None:
    post = Postprocess(4)
    state = post.state_dict()
    kept = {"calibration_scores", "calibration_maxima", "calibration_tops"}
    assert set(state) == {"image_threshold", "pixel_threshold", "typical", *kept}
    assert not post.calibrated
    assert all(bool(state[name].isnan()) for name in set(state) - kept)
    calibrate_postprocess(post, torch.rand(9, 1, 2, 2), 0.2)
    assert post.calibrated
    assert set(post.state_dict()) == set(state)


@pytest.mark.parametrize(("typical", "threshold"), [(-0.9, -0.2), (-3.0, 5.0), (2.0, 2.5)])
def test_normalise_maps_typical_to_nought_and_the_threshold_to_a_half(typical, threshold) -> None:
    post = postprocess_of([0.0], threshold)
    post.typical = torch.tensor(typical)
    span = threshold - typical
    maps = torch.tensor([typical - span, typical, typical + span / 2, threshold, threshold + span, threshold + 9])
    shown = post.normalise(maps)
    expected = [0.0, 0.0, 0.25, 0.5, 1.0, 0.5 + min(0.5, 4.5 / span)]
    torch.testing.assert_close(shown, torch.tensor(expected), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("threshold", [0.5, 0.25])
def test_normalise_stays_finite_where_the_threshold_is_not_above_typical(threshold) -> None:
    post = postprocess_of([0.0], threshold)
    post.typical = torch.tensor(0.5)
    shown: Tensor = post.normalise(torch.tensor([0.0, 0.5, 0.75]))
    assert shown.tolist() == [0.0, 0.0, 1.0]


def two_maps(seed: int = 0) -> Tensor:
    return torch.randn(3, 2, 6, 5, generator=torch.Generator().manual_seed(seed))


def test_the_first_map_is_shown_and_the_last_one_scores() -> None:
    post, maps = postprocess_of([0.0], threshold=1.5), two_maps()
    prediction = post(maps)
    torch.testing.assert_close(prediction.scores, maps[:, 1].amax((1, 2)))
    torch.testing.assert_close(prediction.masks, maps[:, :1] > 1.5)
    assert prediction.maps is maps


@pytest.mark.parametrize("count", [1, 2])
def test_results_of_images_are_the_prediction_without_padding(count) -> None:
    post, maps = postprocess_of([-0.5, 0.0, 0.5], threshold=1.0), two_maps()[:, :count]
    post.typical = torch.tensor(-0.25)
    contents = [(6, 5), (4, 5), (6, 2)]
    prediction = post(maps)
    scores = post.normalise_scores(prediction.scores)
    for i, (result, (height, width)) in enumerate(zip(post.image_results(maps, contents), contents, strict=True)):
        assert (result.label, result.p_value) == (int(prediction.labels[i]), float(prediction.p_values[i]))
        assert (result.score, result.raw_score) == (float(scores[i]), float(prediction.scores[i]))
        shown = maps[i, 0, :height, :width]
        assert np.array_equal(result.raw_map, shown.numpy())
        assert np.array_equal(result.anomaly_map, post.normalise(shown).numpy())
        assert np.array_equal(result.mask, prediction.masks[i, 0, :height, :width].numpy())
        assert result.mask.dtype == bool
        assert np.shares_memory(result.raw_map, maps.numpy())


def test_padding_is_hidden_in_each_map() -> None:
    maps = two_maps()
    hidden = hide_padding(maps, [(6, 5), (4, 5), (3, 2)])
    torch.testing.assert_close(hidden[0], maps[0])
    for i in range(2):
        torch.testing.assert_close(hidden[2, i, :3, :2], maps[2, i, :3, :2])
        assert torch.all(hidden[2, i, 3:] == maps[2, i, :3, :2].min())
        assert torch.all(hidden[2, i, :, 2:] == maps[2, i, :3, :2].min())


def test_each_map_is_smoothed_by_itself() -> None:
    maps = two_maps()
    expected = torch.cat([smooth(maps[:, i : i + 1], 1.3) for i in range(2)], dim=1)
    torch.testing.assert_close(smooth(maps, 1.3), expected)
