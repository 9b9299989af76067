"""Drawn defects can be seen, are where their masks are, and repeat themselves."""

import pytest
import torch
from torch import Tensor

from anomalib_flows.data.drawing.photos import KINDS, add_synthetic_defect, with_defects
from anomalib_flows.data.drawing.scene import draw_photograph


def product(category: str = "fabric") -> Tensor:
    pixels, _ = draw_photograph(category, "good", "0")
    return torch.from_numpy(pixels).permute(2, 0, 1)


def surfaces(*size: int) -> dict[str, Tensor]:
    noise = torch.rand(3, *size, generator=torch.Generator().manual_seed(0))
    return {"black": torch.zeros(3, *size), "white": torch.full((3, *size), 255.0), "rough": 255 * noise}


@pytest.mark.parametrize("number", range(len(KINDS)))
def test_each_kind_takes_its_turn_and_is_where_its_mask_is(number) -> None:
    image = product()
    spoilt, mask, kind = add_synthetic_defect(image, 0, number)
    assert kind == sorted(KINDS)[number]
    change = (spoilt - image.float()).abs().amax(0)
    assert change[mask].mean() > 8
    assert change[~mask].mean() < 0.3
    assert change[~mask].quantile(0.99) < 10
    assert 0.0003 < mask.float().mean() < 0.1
    assert not mask[0].any()
    assert not mask[:, 0].any()


@pytest.mark.parametrize("size", [(64, 64), (90, 300), (400, 300)])
@pytest.mark.parametrize("surface", ["black", "white", "rough"])
def test_a_defect_can_be_seen_on_any_surface_of_any_size(surface, size) -> None:
    images = torch.stack([surfaces(*size)[surface]] * 8)
    spoilt, masks = with_defects(images, seed=1)
    assert spoilt.shape == images.shape
    assert masks.shape == (8, *size)
    assert spoilt.min() >= 0
    assert spoilt.max() <= 255
    for before, after, mask in zip(images, spoilt, masks, strict=True):
        assert (after - before).abs().amax(0)[mask].mean() > 8


@pytest.mark.parametrize("size", [(16, 16), (4, 7)])
def test_a_mask_is_never_empty(size) -> None:
    _, masks = with_defects(torch.full((40, 3, *size), 120.0), seed=0)
    assert masks.flatten(1).any(1).all()


def test_numbers_decide_and_the_batch_does_not() -> None:
    images, state = torch.stack([product()] * 4).float(), torch.get_rng_state()
    spoilt, masks = with_defects(images, seed=5)
    later, later_masks = with_defects(images[2:], seed=5, first=2)
    assert torch.equal(spoilt[2:], later)
    assert torch.equal(masks[2:], later_masks)
    assert not torch.equal(with_defects(images, seed=6)[0], spoilt)
    assert len(torch.unique(masks.flatten(1), dim=0)) == 4
    assert torch.equal(images[0], images[1]), "the images are left as they are"
    assert torch.equal(torch.get_rng_state(), state)


def test_the_same_defect_comes_in_every_resolution() -> None:
    image = product()
    double = image.repeat_interleave(2, 1).repeat_interleave(2, 2)
    for number in range(3):
        (_, mask, kind), (_, large, other) = (
            add_synthetic_defect(image, 0, number),
            add_synthetic_defect(double, 0, number),
        )
        assert kind == other
        assert (large[::2, ::2] != mask).float().mean() < 0.01


def test_a_grey_product_gets_grey_defects() -> None:
    grey = product("plate").float().mean(0, keepdim=True).expand(3, -1, -1)
    for number in range(len(KINDS)):
        spoilt, _, kind = add_synthetic_defect(grey, 0, number)
        if kind != "speck":  # which is foreign
            assert (spoilt.amax(0) - spoilt.amin(0)).max() < 1
