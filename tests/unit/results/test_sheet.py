import numpy as np
import pytest
from PIL import Image

from anomalib_flows.core.errors import InputError
from anomalib_flows.results.sheet import SPACE, contact_sheet

COLOURS = [(200, 0, 0), (0, 200, 0), (0, 0, 200), (200, 200, 0), (0, 200, 200)]


def test_every_picture_is_on_the_sheet_in_reading_order() -> None:
    sheet = np.asarray(contact_sheet([Image.new("RGB", (40, 30), c) for c in COLOURS], columns=2))
    middles = []
    for colour in COLOURS:
        found = (sheet == colour).all(axis=-1)
        assert found.sum() == 40 * 30
        middles.append(tuple(np.argwhere(found).mean(axis=0)))
    assert middles == sorted(middles)
    assert len({row for row, _ in middles}) == 3


def test_large_pictures_shrink_and_keep_their_shape() -> None:
    sheet = contact_sheet([np.zeros((100, 1000, 3), np.uint8), Image.new("L", (30, 60))], columns=2, width=416)
    assert sheet.width <= 416
    rows, columns = np.nonzero((np.asarray(sheet)[:, :208] == 0).all(axis=-1))
    assert np.ptp(columns) + 1 == pytest.approx(10 * (np.ptp(rows) + 1), rel=0.05)


def test_rows_are_as_high_as_their_own_pictures() -> None:
    low, high = Image.new("RGB", (20, 10)), Image.new("RGB", (20, 200))
    both, lows = contact_sheet([low, low, high], 2), contact_sheet([low, low], 2)
    assert both.height == lows.height + contact_sheet([high], 2).height - SPACE


def test_fewer_pictures_than_columns_leave_no_gap() -> None:
    pictures = [Image.new("RGB", (20, 20))] * 2
    assert contact_sheet(pictures, 5).size == contact_sheet(pictures, 2).size


@pytest.mark.parametrize(("pictures", "columns"), [([], 3), ([Image.new("L", (2, 2))], 0)])
def test_nothing_to_show_is_said(pictures: list[Image.Image], columns: int) -> None:
    with pytest.raises(InputError, match="at least one"):
        contact_sheet(pictures, columns)
