"""Upsampling as Pillow, SciPy and plain matrices do it."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import map_coordinates
from torch import Tensor

from anomalib_flows.models.flow_detector import Upsample

SIZES = [((4, 6), (8, 12)), ((3, 5), (10, 7)), ((5, 2), (64, 96)), ((1, 4), (3, 9))]
MODES = ["bilinear", "bilinear-aligned", "bicubic", "nearest"]
every_size = pytest.mark.parametrize(("small", "large"), SIZES, ids=str)
every_mode = pytest.mark.parametrize("mode", MODES)


def maps(height: int, width: int) -> Tensor:
    return torch.rand(2, 1, height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def centres(small: int, large: int) -> NDArray[np.float64]:
    """Where the centres of large pixels lie among the small ones, when the images' borders coincide."""
    return (np.arange(large) + 0.5) * small / large - 0.5


def linear(image: NDArray[np.float64], rows: NDArray[np.float64], columns: NDArray[np.float64]) -> NDArray[np.float64]:
    return map_coordinates(image, np.meshgrid(rows, columns, indexing="ij"), order=1, mode="nearest")


def assert_each_equals(upsampled: Tensor, expected: list[NDArray[np.float64]], tolerance: float = 1e-10) -> None:
    torch.testing.assert_close(upsampled[:, 0], torch.from_numpy(np.stack(expected)), rtol=0, atol=tolerance)


@every_size
def test_bilinear_is_scipys_and_pillows(small, large) -> None:
    given = maps(*small)
    rows, columns = (centres(s, n) for s, n in zip(small, large, strict=True))
    found = Upsample(large, "bilinear")(given)
    assert_each_equals(found, [linear(m[0].numpy(), rows, columns) for m in given])
    images = [Image.fromarray(m[0].float().numpy()).resize(large[::-1], Image.Resampling.BILINEAR) for m in given]
    assert_each_equals(found, [np.asarray(image, np.float64) for image in images], tolerance=1e-6)


@every_size
def test_aligned_puts_the_outer_pixels_upon_each_other(small, large) -> None:
    given = maps(*small)
    rows, columns = (np.linspace(0, s - 1, n) for s, n in zip(small, large, strict=True))
    found = Upsample(large, "bilinear-aligned")(given)
    assert_each_equals(found, [linear(m[0].numpy(), rows, columns) for m in given])
    torch.testing.assert_close(found[..., 0, 0], given[..., 0, 0])
    if small[0] > 1:
        torch.testing.assert_close(found[..., -1, -1], given[..., -1, -1])


@every_size
def test_nearest_is_pillows(small, large) -> None:
    given = maps(*small)
    images = [Image.fromarray(m[0].float().numpy()).resize(large[::-1], Image.Resampling.NEAREST) for m in given]
    assert_each_equals(Upsample(large, "nearest")(given), [np.asarray(i, np.float64) for i in images], tolerance=1e-7)


def cubic(small: int, large: int) -> NDArray[np.float64]:
    """The matrix of Keys' cubic convolution with a = -0.75, with the border's value beyond the border."""
    a, matrix = -0.75, np.zeros((large, small))
    for i, centre in enumerate(centres(small, large)):
        for j in range(int(np.floor(centre)) - 1, int(np.floor(centre)) + 3):
            d = abs(centre - j)
            near, far = (a + 2) * d**3 - (a + 3) * d**2 + 1, a * (d**3 - 5 * d**2 + 8 * d - 4)
            matrix[i, min(max(j, 0), small - 1)] += near if d <= 1 else far
    return matrix


@every_size
def test_bicubic_is_a_product_with_two_matrices(small, large) -> None:
    given = maps(*small)
    rows, columns = (cubic(s, n) for s, n in zip(small, large, strict=True))
    expected = [rows @ m[0].numpy() @ columns.T for m in given]
    assert_each_equals(Upsample(large, "bicubic")(given), expected)


@every_mode
def test_constants_and_maps_of_the_right_size_stay(mode) -> None:
    torch.testing.assert_close(Upsample((11, 9), mode)(torch.full((1, 1, 3, 4), 0.7)), torch.full((1, 1, 11, 9), 0.7))
    torch.testing.assert_close(Upsample((5, 7), mode)(maps(5, 7)), maps(5, 7))
