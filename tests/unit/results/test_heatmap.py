import numpy as np
import pytest
from PIL import Image

from anomalib_flows.results.colours import table
from anomalib_flows.results.heatmap import as_image, heatmap, mask_image, outline, overlay

RED = (255, 0, 0)
noise = np.random.default_rng(0).integers(0, 256, (90, 70, 3), dtype=np.uint8)


def square(size: int = 32) -> np.ndarray:
    mask = np.zeros((size, size), dtype=bool)
    mask[size // 4 : size // 2, size // 4 : size // 2] = True
    return mask


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "CMYK"])
def test_any_picture_becomes_rgb(mode: str) -> None:
    assert as_image(Image.new(mode, (4, 3))).mode == "RGB"
    assert (np.asarray(as_image(noise)) == noise).all()


@pytest.mark.parametrize("size", [(48, 64), (1, 200), (16, 16)])
def test_heatmap_has_the_size_and_the_colours_of_the_map(size: tuple[int, int]) -> None:
    drawn = heatmap(np.full((16, 16), 0.6), size)
    assert (drawn.height, drawn.width, drawn.mode) == (*size, "RGB")
    assert (np.asarray(drawn) == table()[153]).all()


def test_heatmap_is_enlarged_smoothly() -> None:
    values = np.zeros((8, 8))
    values[:, 4:] = 1
    brightness = np.asarray(heatmap(values, (80, 80)).convert("L")).astype(int)[40]
    assert (np.diff(brightness) >= -1).all()
    assert np.diff(brightness).max() < 60


def test_overlay_keeps_normal_regions_and_grows_with_the_value() -> None:
    steps = np.linspace(0, 1, 11)
    images = [np.asarray(overlay(noise, np.full((8, 8), v))).astype(int) for v in steps]
    change = [np.abs(image - noise).mean() for image in images]
    assert change[0] == 0
    assert change[1] < 0.5
    assert (np.diff(change[1:7]) > 0).all()
    # The product stays recognisable under the strongest colour.
    assert np.corrcoef(images[-1].ravel(), noise.ravel())[0, 1] > 0.5


def test_overlay_draws_the_contour_around_the_mask_only() -> None:
    image = np.zeros((128, 128, 3), dtype=np.uint8)
    drawn = np.asarray(overlay(image, np.zeros((32, 32)), square())).any(axis=-1)
    inside = np.asarray(mask_image(square(), (128, 128))) > 0
    rows, columns = np.nonzero(drawn)
    assert drawn.any()
    assert not (drawn & inside)[36:60, 36:60].any()
    assert {rows.min(), columns.min()} <= {30, 31, 32}
    assert {rows.max(), columns.max()} <= {63, 64, 65}


def test_outline_leaves_its_image_alone_and_nothing_where_no_mask_is() -> None:
    image = as_image(noise)
    assert (np.asarray(outline(image, np.zeros((9, 9), dtype=bool), RED, fill=0.5)) == noise).all()
    outline(image, np.ones((9, 9), dtype=bool), RED, fill=0.5)
    assert (np.asarray(image) == noise).all()


def test_outline_of_a_mask_that_covers_everything_frames_the_image() -> None:
    drawn = np.asarray(outline(Image.new("RGB", (20, 20)), np.ones((5, 5), dtype=bool), RED))
    assert (drawn[0] == RED).all()
    assert (drawn[:, -1] == RED).all()
    assert not drawn[5:15, 5:15].any()


@pytest.mark.parametrize("size", [(100, 100), (320, 320), (800, 300)])
def test_a_line_one_pixel_wide_survives_any_size(size: tuple[int, int]) -> None:
    mask = np.zeros((800, 800), dtype=bool)
    mask[401] = True
    drawn = np.asarray(outline(Image.new("RGB", size[::-1]), mask, RED, fill=1))
    assert (drawn[..., 0] == 255).any(axis=0).all()


def test_mask_image_is_black_and_white_at_any_size() -> None:
    mask = square()
    plain, large = mask_image(mask), mask_image(mask, (96, 64))
    assert (plain.mode, plain.size, large.size) == ("L", (32, 32), (64, 96))
    assert ((np.asarray(plain) == 255) == mask).all()
    assert (np.asarray(large) == np.kron(mask, np.ones((3, 2))) * 255).all()


def test_table_has_a_colour_for_each_level() -> None:
    assert table().shape == (256, 3)
    assert table().dtype == np.uint8
    assert len(np.unique(table(), axis=0)) == 256


def test_brightness_rises_in_even_steps() -> None:
    linear = (table() / 255) ** 2.2
    lightness = (linear @ [0.2126, 0.7152, 0.0722]) ** (1 / 3)
    assert (np.diff(lightness) > 0).all()
    grey = np.asarray(Image.fromarray(table()[None]).convert("L"))[0].astype(int)
    assert (np.diff(grey) >= 0).all()
    assert grey[-1] - grey[0] > 180


def test_heatmap_follows_the_table_and_clips() -> None:
    values = np.array([[-1.0, 0.0, 0.5], [1.0, 2.0, 1 / 255]])
    assert (np.asarray(heatmap(values, (2, 3))) == table()[[[0, 0, 128], [255, 255, 1]]]).all()
