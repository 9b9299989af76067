"""Images are turned, scaled, lit and blurred as Pillow and NumPy do it; masks go with them; names decide how."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from scipy import ndimage
from torch import Tensor

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.types import Batch, Sample
from anomalib_flows.data.loading.augmentation import RandomChanges, augment_batch
from anomalib_flows.run.options import AugmentOptions

MOVES = (AugmentOptions(rotate=30), AugmentOptions(zoom=0.5), AugmentOptions(shift=0.4), AugmentOptions(flip=True))
LOOKS = (AugmentOptions(brightness=0.5), AugmentOptions(contrast=0.5), AugmentOptions(blur=3), AugmentOptions(noise=30))
ALL = AugmentOptions(rotate=20, flip=True, zoom=1.3, shift=0.1, brightness=0.2, contrast=0.2, blur=1, noise=5)


def noise(*shape: int) -> Tensor:
    return torch.randint(256, shape, generator=torch.Generator().manual_seed(0)).float()


def smooth(height: int, width: int) -> Tensor:
    """A smooth image (1, 3, height, width), in which bilinear and other interpolation agree."""
    field = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal((3, height, width)), (0, 5, 5))
    return torch.from_numpy(127 + 100 * field / np.abs(field).max()).float()[None]


def batch_of(images: Tensor, contents: list[tuple[int, int]] | None = None) -> Batch:
    samples = [Sample(Path(f"/data/cut/{i}.png"), "test", 1, "cut") for i in range(len(images))]
    return Batch(images, samples, [None] * len(images), contents or [tuple(images.shape[2:])] * len(images))


class Drawn:
    """A source of the numbers that a test asks for, in the place of random ones; of an option not named 0."""

    NAMES = ("angle", "flip", "zoom", "down", "across", "brightness", "contrast", "blur", "noise")

    def __init__(self, **numbers: float) -> None:
        self.numbers = np.array([numbers.get(name, 0.0) for name in self.NAMES])

    def uniform(self, *_: object) -> np.ndarray:
        return self.numbers


def changed(images: Tensor, changes: AugmentOptions, **numbers: float) -> Tensor:
    return RandomChanges(changes, [Drawn(**numbers)] * len(images)).images(images)


def pixels(image: Tensor) -> Image.Image:
    return Image.fromarray(image[0].permute(1, 2, 0).round().byte().numpy())


def test_quarter_turns_of_squares_lose_nothing() -> None:
    image = noise(1, 3, 16, 16)
    for interpolation in ("nearest", "bilinear"):
        turned = changed(image, AugmentOptions(rotate=90, interpolation=interpolation), angle=1)
        torch.testing.assert_close(turned, torch.rot90(image, 1, (2, 3)), atol=0.05, rtol=0)


@pytest.mark.parametrize("angle", [-37.0, 5.0, 61.0])
@pytest.mark.parametrize("shape", [(40, 40), (30, 50), (51, 34)])
def test_turning_by_nearest_pixels_is_that_of_pillow(angle, shape) -> None:
    image = noise(1, 3, *shape)
    expected = np.asarray(pixels(image).rotate(angle, Image.Resampling.NEAREST)).transpose(2, 0, 1)
    published = AugmentOptions(rotate=abs(angle), interpolation="nearest", border="zeros")
    turned = changed(image, published, angle=np.sign(angle))[0].numpy()
    assert (turned == expected).all(0).mean() > 0.97  # they round a place between two pixels differently
    assert turned[:, 0, 0].tolist() == [0, 0, 0]  # black where there is no image


@pytest.mark.parametrize(("zoom", "drawn", "factor"), [(0.8, 1.0, 0.8), (0.8, -1.0, 1.25), (1.25, 1.0, 1.25)])
def test_zooming_is_that_of_pillow(zoom, drawn, factor) -> None:
    image, (height, width) = smooth(60, 80), (60, 80)
    y, x = (height - 1) / 2, (width - 1) / 2
    inverse = (1 / factor, 0, x * (1 - 1 / factor), 0, 1 / factor, y * (1 - 1 / factor))
    from_centres = (*inverse[:2], inverse[2] + 0.5 - 0.5 / factor, *inverse[3:5], inverse[5] + 0.5 - 0.5 / factor)
    expected = pixels(image).transform((width, height), Image.Transform.AFFINE, from_centres, Image.Resampling.BILINEAR)
    zoomed = changed(image, AugmentOptions(zoom=zoom), zoom=drawn)[0, :, 15:-15, 15:-15]
    theirs = torch.from_numpy(np.array(expected)).permute(2, 0, 1)[:, 15:-15, 15:-15]
    assert (zoomed - theirs).abs().mean() < 1.5


def test_shifts_are_shares_of_height_and_width() -> None:
    image = noise(1, 3, 20, 40)
    moved = changed(image, AugmentOptions(shift=0.5), down=0.5, across=-0.25)
    torch.testing.assert_close(moved[:, :, 5:, :35], image[:, :, :15, 5:], atol=0.05, rtol=0)


def test_half_of_the_images_are_mirrored_exactly() -> None:
    images = noise(1, 3, 4, 6).expand(200, -1, -1, -1)
    flipped = augment_batch(batch_of(images), AugmentOptions(flip=True), 0).images
    same, mirrored = ((flipped == i).flatten(1).all(1) for i in (images, images.flip(3)))
    assert (same | mirrored).all()
    assert 70 < same.sum() < 130


def test_corners_repeat_the_image_or_are_black() -> None:
    image = torch.full((1, 3, 32, 32), 90.0)
    assert changed(image, AugmentOptions(rotate=45), angle=1).min() > 89
    assert changed(image, AugmentOptions(rotate=45, border="zeros"), angle=1)[0, :, 0, 0].eq(0).all()


def test_light_is_scaled_and_contrast_about_the_mean() -> None:
    image = 60 + 80 * torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0)).expand(1, 3, 8, 8)
    torch.testing.assert_close(changed(image, AugmentOptions(brightness=0.4), brightness=0.5), 1.2 * image)
    expected = image.mean() + 0.7 * (image - image.mean())
    torch.testing.assert_close(changed(image, AugmentOptions(contrast=0.3), contrast=-1), expected, rtol=1e-4, atol=0.1)


def test_blur_is_a_gaussian() -> None:
    image = noise(1, 3, 40, 40)
    expected = ndimage.gaussian_filter(image[0].numpy(), (0, 2, 2), mode="mirror", truncate=3.5)
    torch.testing.assert_close(
        changed(image, AugmentOptions(blur=4), blur=-0.5)[0], torch.from_numpy(expected), atol=0.5, rtol=0
    )
    reference = pixels(image).filter(ImageFilter.GaussianBlur(2))
    assert np.abs(np.asarray(reference).transpose(2, 0, 1) - expected)[:, 8:-8, 8:-8].max() < 8


def test_noise_has_at_most_the_deviation_that_was_asked_for() -> None:
    grey = torch.full((50, 3, 32, 32), 128.0)
    deviations = (augment_batch(batch_of(grey), AugmentOptions(noise=20), 0).images - grey).flatten(1).std(1)
    assert deviations.min() < 3
    assert 17 < deviations.max() < 21


@pytest.mark.parametrize("changes", [*MOVES, *LOOKS], ids=str)
def test_values_stay_grey_levels_and_images_differ(changes) -> None:
    images = noise(1, 3, 24, 24).expand(12, -1, -1, -1)
    seen = augment_batch(batch_of(images), changes, 0).images
    assert seen.min() >= 0
    assert seen.max() <= 255
    assert len(torch.unique(seen, dim=0)) >= (2 if changes.flip else 12)


@pytest.mark.parametrize("changes", [*MOVES, *LOOKS], ids=str)
def test_masks_are_moved_with_their_images_and_not_by_light(changes) -> None:
    spot = torch.zeros(6, 3, 40, 40)
    spot[:, :, 8:20, 12:30] = 250
    batch = batch_of(spot)
    batch.masks[:] = list(spot[:, 0] > 0)
    seen = augment_batch(batch, changes, 0)
    for image, mask, before in zip(seen.images, seen.masks, batch.masks, strict=True):
        if changes in LOOKS:
            assert torch.equal(mask, before)
        else:
            assert ((image[0] > 125) != mask).float().mean() < 0.01


def test_nothing_asked_for_changes_nothing() -> None:
    batch = batch_of(noise(2, 3, 8, 8))
    assert augment_batch(batch, AugmentOptions(interpolation="nearest", border="zeros"), 0) is batch


def test_a_batch_is_left_as_it_was() -> None:
    batch = batch_of(noise(2, 3, 8, 8))
    before = batch.images.clone()
    augment_batch(batch, ALL, 0)
    assert torch.equal(batch.images, before)


def test_changes_depend_on_names_alone() -> None:
    batch, state = batch_of(noise(3, 3, 20, 20)), torch.get_rng_state()
    first = augment_batch(batch, ALL, 3, 1).images
    alone = Batch(batch.images[2:], batch.samples[2:], [None], batch.contents[2:])
    assert torch.equal(augment_batch(batch, ALL, 3, 1).images, first)
    torch.testing.assert_close(augment_batch(alone, ALL, 3, 1).images[0], first[2], rtol=0, atol=1e-3)
    assert not torch.equal(augment_batch(batch, ALL, 3, 2).images, first)
    assert not torch.equal(augment_batch(batch, ALL, 4, 1).images, first)
    assert torch.equal(torch.get_rng_state(), state), "it leaves the global random state alone"


def test_one_options_draws_leave_the_others_alone() -> None:
    batch = batch_of(noise(2, 3, 20, 20))
    once = augment_batch(batch, AugmentOptions(rotate=20), 0)
    assert torch.equal(
        augment_batch(once, AugmentOptions(brightness=0.2), 0).images,
        augment_batch(batch, AugmentOptions(rotate=20, brightness=0.2), 0).images,
    )


def test_padding_repeats_the_border_and_is_not_turned_in() -> None:
    images = noise(3, 3, 16, 24)
    images[0, :, 10:], images[2, :, 10:] = 1000, 1000  # padding, which would show
    batch = batch_of(images, [(10, 24), (16, 24), (10, 24)])
    batch.masks[0] = torch.zeros(16, 24, dtype=torch.bool)
    batch.masks[0][:10] = True
    seen = augment_batch(batch, AugmentOptions(rotate=40), 0)
    assert seen.images.max() <= 255
    assert (seen.images[0, :, 10:] == seen.images[0, :, 9:10]).all()
    assert seen.masks[0][:10].all()
    assert not seen.masks[0][10:].any()
    small = augment_batch(batch_of(noise(3, 3, 16, 24)[1:2]), AugmentOptions(rotate=40), 0)
    assert small.images.shape == (1, 3, 16, 24)


@pytest.mark.parametrize(
    ("name", "value"), [("rotate", 181), ("rotate", -1), ("zoom", 0), ("shift", 2), ("blur", -1), ("noise", 256)]
)
def test_invalid_numbers_are_refused(name, value) -> None:
    with pytest.raises(InputError, match=rf"`{name}` cannot be {value}"):
        AugmentOptions(**{name: value})
