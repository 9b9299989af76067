"""Masks that are resized."""

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from anomalib_flows.data.loading.masks import EIGHT_NEIGHBOURS, resize_mask


def regions_of(mask: np.ndarray) -> tuple[np.ndarray, int]:
    return ndimage.label(mask, EIGHT_NEIGHBOURS)


@pytest.mark.parametrize("inner", [(31, 24), (64, 64), (7, 50)])
@pytest.mark.parametrize("density", [0.001, 0.02, 0.3])
def test_each_region_keeps_a_pixel_and_nothing_else_is_added(inner: tuple[int, int], density: float) -> None:
    mask = np.random.default_rng(0).random((157, 203)) < density
    resized = resize_mask(torch.from_numpy(mask), inner, inner).numpy()
    pillow = np.asarray(Image.fromarray(mask).resize(inner[::-1], Image.Resampling.NEAREST))
    assert (resized >= pillow).all()
    regions, count = regions_of(mask)
    rows = ((np.arange(157) + 0.5) * inner[0] / 157).astype(int)
    columns = ((np.arange(203) + 0.5) * inner[1] / 203).astype(int)
    of_cells = np.zeros((count + 1, *inner), bool)
    of_cells[regions, rows[:, None], columns] = True
    seen = (of_cells & resized).any((1, 2))
    assert seen[1:].mean() > 0.99  # the centre of a bent region may lie outside of it
    single = ndimage.sum(mask, regions, np.arange(1, count + 1)) == 1
    assert seen[1:][single].all()
    assert (resized & ~pillow).sum() <= (~(of_cells & pillow).any((1, 2))[1:]).sum()


def test_a_defect_of_five_pixels_in_a_large_photo_is_kept_where_it_is() -> None:
    for seed in range(10):
        row, column = np.random.default_rng(seed).integers(0, 1995, 2)
        mask = torch.zeros(2000, 2000, dtype=torch.bool)
        mask[row : row + 5, column : column + 5] = True
        found = resize_mask(mask, (256, 256), (256, 256)).nonzero()
        assert len(found) >= 1
        assert np.abs(found.numpy() - np.array([row + 2, column + 2]) * 256 / 2000).max() < 1.5


def test_a_mask_without_a_defect_and_padding_stay_empty() -> None:
    assert not resize_mask(torch.zeros(90, 70, dtype=torch.bool), (9, 7), (9, 9)).any()
    padded = resize_mask(torch.ones(90, 70, dtype=torch.bool), (9, 7), (9, 9))
    assert padded[:, :7].all()
    assert not padded[:, 7:].any()


@pytest.mark.parametrize("inner", [(9, 31), (40, 7), (64, 64), (17, 23)])
def test_where_no_region_is_lost_masks_are_resized_as_pillow_does(inner: tuple[int, int]) -> None:
    mask = ndimage.binary_dilation(np.random.default_rng(0).random((17, 23)) > 0.97, np.ones((3, 5)))
    expected = np.asarray(Image.fromarray(mask).resize(inner[::-1], Image.Resampling.NEAREST))
    np.testing.assert_array_equal(resize_mask(torch.from_numpy(mask), inner, inner).numpy(), expected)
