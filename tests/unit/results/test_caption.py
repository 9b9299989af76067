"""Label and score can be read on any image, and leave small ones alone."""

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from anomalib_flows.core.types import ImageResult
from anomalib_flows.results.caption import PLATES, fitting_size, label_image
from anomalib_flows.results.colours import table
from anomalib_flows.results.figure import WHITE

Make = Callable[..., ImageResult]
SIZES = [(200, 300), (1024, 1024), (3000, 2000)]


def luminance(colour: tuple[int, int, int]) -> float:
    """Relative luminance of WCAG 2.2."""
    values = np.array(colour) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def captioned(result: ImageResult, size: tuple[int, int], grey: int) -> np.ndarray:
    image = Image.new("RGB", size[::-1], (grey, grey, grey))
    label_image(image, result)
    return np.asarray(image)


@pytest.mark.parametrize("label", [0, 1])
def test_letters_stand_out_from_their_ground(label: int) -> None:
    assert (luminance(WHITE) + 0.05) / (luminance(PLATES[label]) + 0.05) > 7  # level AAA


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("label", [0, 1])
def test_the_caption_does_not_depend_on_the_image(make_result: Make, size: tuple[int, int], label: int) -> None:
    dark, light = (captioned(make_result(label=label), size, grey) for grey in (0, 255))
    plate = (dark == light).all(-1)
    rows, columns = np.nonzero(plate)
    assert plate[: rows.max() + 1, : columns.max() + 1].all(), "one rectangle in the corner"
    assert plate.mean() < 0.12
    assert {PLATES[label], WHITE} <= {tuple(map(int, colour)) for colour in dark[plate]}


def test_another_score_is_another_text_on_the_same_scale(make_result: Make) -> None:
    one, other = (captioned(make_result(score=score), (200, 300), 0) for score in (0.71, 0.82))
    rows = np.flatnonzero((one != other).any((1, 2)))
    assert len(rows)
    below = one[rows.max() + 1 : 60]
    ends = [np.argwhere((below == table()[level]).all(-1)) for level in (0, 255)]
    assert all(len(end) for end in ends)
    assert ends[0][0, 1] < ends[1][0, 1], "0 on the left, 1 on the right"
    marks = np.argwhere((below == WHITE).all(-1))[:, 1]
    assert set(marks) == {(ends[0][:, 1].min() + ends[1][:, 1].max()) // 2}, "the threshold in the middle"


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (20, 300), (300, 40)])
def test_images_that_are_too_small_stay_as_they_are(make_result: Make, size: tuple[int, int]) -> None:
    assert (captioned(make_result(), size, 77) == 77).all()
    assert fitting_size(Image.new("RGB", size[::-1]), [("anomalous 0.80", WHITE)]) == 0
