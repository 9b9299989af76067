"""Turning images is what Pillow and NumPy call it, and is repeated by the same seed."""

import numpy as np
import pytest
import torch
from PIL import Image

from anomalib_flows.training.augmentation import rotate, turn


def noise(*shape: int) -> torch.Tensor:
    return torch.randint(256, shape, generator=torch.Generator().manual_seed(0)).float()


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_quarter_turns_of_squares_lose_nothing(quarters) -> None:
    image = noise(1, 3, 16, 16)
    turned = turn(image, torch.tensor([90.0 * quarters]))
    assert torch.equal(turned, torch.rot90(image, quarters, (2, 3)))


@pytest.mark.parametrize("angle", [-37.0, 5.0, 61.0])
@pytest.mark.parametrize("shape", [(40, 40), (30, 50), (51, 34)])
def test_turning_is_that_of_pillow(angle, shape) -> None:
    image = noise(1, 3, *shape)
    pixels = Image.fromarray(image[0].permute(1, 2, 0).byte().numpy())
    expected = np.asarray(pixels.rotate(angle, Image.Resampling.NEAREST)).transpose(2, 0, 1)
    turned = turn(image, torch.tensor([angle]))[0].numpy()
    assert (turned == expected).all(0).mean() > 0.97  # they round a place between two pixels differently
    assert turned[:, 0, 0].tolist() == [0, 0, 0]  # black where there is no image


def test_each_image_is_turned_by_another_angle_within_bounds() -> None:
    line = torch.zeros(200, 3, 65, 65)
    line[:, :, 32, 60] = 1
    torch.manual_seed(0)
    offsets = 32 - rotate(line, 20.0)[:, 0].flatten(1).argmax(1).div(65, rounding_mode="floor")
    assert offsets.unique().numel() > 10
    assert 8 <= int(offsets.max()) <= round(28 * np.sin(np.deg2rad(20)))
    assert -8 >= int(offsets.min()) >= -round(28 * np.sin(np.deg2rad(20)))


def test_no_angle_changes_nothing_and_draws_nothing() -> None:
    image, state = noise(2, 3, 8, 8), torch.get_rng_state()
    assert rotate(image, 0.0) is image
    assert torch.equal(torch.get_rng_state(), state)


def test_the_same_seed_turns_alike() -> None:
    image = noise(3, 3, 20, 20)
    torch.manual_seed(3)
    first = rotate(image, 30)
    second = rotate(image, 30)
    torch.manual_seed(3)
    assert torch.equal(rotate(image, 30), first)
    assert not torch.equal(first, second)
