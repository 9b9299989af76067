import numpy as np
from PIL import Image

from anomalib_flows.results.colours import colourise, table


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


def test_colourise_follows_the_table_and_clips() -> None:
    values = np.array([[-1.0, 0.0, 0.5], [1.0, 2.0, 1 / 255]])
    assert (colourise(values) == table()[[[0, 0, 128], [255, 255, 1]]]).all()
