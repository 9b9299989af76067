import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomalib_flows.data.checks.scale import LARGEST_FACTOR, VISIBLE, InputScale, about_scale, warn_of_scale

SQUARE = InputScale((256, 256), "stretch")
sides = st.integers(1, 20_000)


@pytest.mark.parametrize(
    ("size", "resize", "photo", "factor"),
    [
        ((256, 256), "stretch", (3000, 4000), 15.625),
        ((256, 256), "pad", (3000, 4000), 15.625),
        ((256, 512), "stretch", (2048, 2048), 8),  # the height shrinks more
        ((256, 512), "pad", (2048, 2048), 8),
        ((256, 512), "pad", (1024, 4096), 8),
        ((256, 512), "stretch", (1024, 4096), 8),
        ((256, 256), "stretch", (256, 4096), 16),
        ((256, 256), "stretch", (64, 128), 0.5),
    ],
)
def test_factor_is_that_of_the_direction_that_shrinks_more(size, resize, photo, factor):
    assert InputScale(size, resize).factor(photo) == pytest.approx(factor)


@given(photo=st.tuples(sides, sides), size=st.tuples(sides, sides))
def test_padding_shrinks_both_directions_as_stretching_shrinks_one(photo, size):
    stretched, padded = (InputScale(size, resize).factor(photo) for resize in ("stretch", "pad"))
    assert padded >= stretched * (1 - 1e-9)  # its content is at most the input


@pytest.mark.parametrize("resize", ["stretch", "pad"])
def test_photos_up_to_fourfold_are_no_matter(resize):
    assert about_scale({(1024, 1024): 5, (100, 90): 1}, InputScale((256, 256), resize)) == ""
    assert about_scale({}, SQUARE) == ""
    assert about_scale({(1025, 1024): 1}, InputScale((256, 256), resize))


def test_one_warning_counts_photos_and_names_the_smallest_defect_and_a_size_that_helps():
    photos = {(3000, 4000): 2, (1200, 1600): 3, (256, 256): 4}
    with pytest.warns(UserWarning, match="fourfold") as caught:
        warn_of_scale(photos, SQUARE)
    (warning,) = caught
    assert str(warning.message) == (
        "5 of 9 photos are scaled down more than fourfold, up to 15.6-fold: there, defects smaller than about "
        "125 x 125 pixels of the photo are likely missed. A model trained with `image.size` 1024 sees those from about "
        "31 x 31 pixels on."
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_scale({(256, 256): 4}, SQUARE)


@pytest.mark.parametrize(
    ("size", "photo", "words"),
    [
        ((256, 256), (1200, 1200), "A model trained with `image.size` 384 sees those from about 25 x 25 pixels on."),
        ((256, 256), (1600, 1600), "A model trained with `image.size` 512 sees"),
        ((256, 256), (3072, 2000), "A model trained with `image.size` 768 sees"),
        ((256, 512), (2000, 4000), "A model trained with `image.size` 512,1024 sees"),
        ((256, 320), (1500, 1500), "A model trained with `image.size` 416,512 sees"),
        (
            (256, 256),
            (9000, 9000),
            "Even one trained with `image.size` 1024 sees those from about 70 x 70 pixels on: to see",
        ),
        ((1024, 1024), (9000, 9000), "likely missed. To see smaller ones, cut the photos into tiles."),
        ((1536, 1024), (9000, 9000), "likely missed. To see smaller ones, cut the photos into tiles."),
    ],
)
def test_the_smallest_size_that_helps_is_proposed_else_tiles(size, photo, words):
    text = about_scale({photo: 1}, InputScale(size, "stretch"))
    assert words in text
    assert text.endswith("cut the photos into tiles.") == ("A model" not in text)


@given(photo=st.tuples(sides, sides), size=st.tuples(st.integers(16, 1200), st.integers(16, 1200)))
def test_what_is_proposed_holds(photo, size):
    scale = InputScale(size, "pad")
    text = about_scale({photo: 1}, scale)
    assert bool(text) == (scale.factor(photo) > LARGEST_FACTOR)
    for larger in scale.larger():
        assert max(larger.size) > max(size)
        assert all(side % 32 == 0 for side in larger.size)
        if f"A model trained with `image.size` {larger} sees" in text:
            assert larger.factor(photo) <= LARGEST_FACTOR
            assert f"x {round(VISIBLE * larger.factor(photo))} pixels on" in text
