import functools

import numpy as np
import pytest
from scipy import ndimage

from anomalib_flows.data.drawing.scene import DEFECTS, SIZE, draw_photograph

drawn = functools.cache(draw_photograph)
EVERY_DEFECT = [(category, defect) for category in DEFECTS for defect in DEFECTS[category]]


GOLDEN = {
    ("board", "good"): ([45, 130, 45, 95, 124, 133, 88, 64, 110], 0),
    ("board", "bridge"): ([36, 61, 38, 57, 65, 104, 72, 71, 94], 139),
    ("board", "misprint"): ([48, 84, 35, 74, 64, 122, 88, 82, 62], 539),
    ("board", "missing_part"): ([63, 120, 47, 103, 98, 176, 118, 99, 79], 214),
    ("board", "scratch"): ([27, 57, 103, 73, 82, 96, 81, 98, 72], 329),
    ("board", "stain"): ([52, 111, 67, 117, 94, 100, 132, 105, 109], 1010),
    ("board", "turned_part"): ([53, 104, 65, 98, 95, 103, 144, 101, 89], 442),
    ("fabric", "good"): ([50, 102, 64, 99, 105, 114, 83, 73, 129], 0),
    ("fabric", "crack"): ([43, 89, 68, 73, 145, 146, 84, 138, 96], 269),
    ("fabric", "floating_thread"): ([77, 68, 57, 120, 135, 136, 123, 111, 204], 605),
    ("fabric", "slipped_thread"): ([75, 55, 109, 118, 151, 152, 110, 37, 41], 1509),
    ("fabric", "snag"): ([40, 63, 113, 52, 46, 53, 22, 66, 68], 1011),
    ("fabric", "stain"): ([47, 105, 92, 85, 61, 85, 84, 99, 88], 1285),
    ("fabric", "turned"): ([114, 92, 46, 72, 64, 136, 99, 131, 94], 874),
    ("granite", "good"): ([148, 164, 200, 140, 193, 156, 202, 169, 219], 0),
    ("granite", "crack"): ([151, 139, 151, 160, 183, 210, 188, 177, 154], 349),
    ("granite", "grooves"): ([164, 183, 138, 141, 143, 95, 160, 136, 152], 1169),
    ("granite", "scratch"): ([208, 196, 189, 179, 210, 195, 143, 149, 199], 492),
    ("granite", "stain"): ([111, 137, 109, 126, 113, 66, 121, 161, 117], 786),
    ("plate", "good"): ([101, 167, 144, 23, 47, 157, 143, 161, 124], 0),
    ("plate", "clogged_hole"): ([211, 173, 170, 34, 70, 169, 149, 145, 137], 501),
    ("plate", "crack"): ([177, 65, 168, 113, 49, 174, 149, 174, 164], 338),
    ("plate", "dent"): ([39, 66, 127, 111, 111, 137, 112, 124, 126], 1741),
    ("plate", "scratch"): ([143, 122, 113, 120, 37, 150, 173, 140, 118], 497),
    ("plate", "turned"): ([126, 156, 129, 47, 26, 114, 110, 99, 114], 1464),
}


@pytest.mark.parametrize(("category", "defect"), EVERY_DEFECT)
def test_mask_marks_what_differs_from_the_same_photograph_without_the_defect(category, defect, monkeypatch):
    spoilt, mask = drawn(category, defect, "test/000")
    monkeypatch.setitem(DEFECTS[category], defect, lambda _, canvas: canvas)
    sound, nothing = draw_photograph(category, defect, "test/000")
    assert not nothing.any()
    change = abs(spoilt.astype(int) - sound).max(axis=2)
    assert (change[mask] >= 4).mean() > 0.5
    assert change[~ndimage.binary_dilation(mask, iterations=2)].max() < 16
    assert 30 < mask.sum() < 0.12 * SIZE**2
    assert abs(spoilt.mean() - sound.mean()) < 3


def test_brightness_varies_more_between_good_images_than_by_any_defect():
    """See the limit of 3 grey levels in the test above."""
    assert np.std([drawn("fabric", "good", f"test/{i:03d}")[0].mean() for i in range(6)]) > 6


@pytest.mark.parametrize(("category", "defect"), GOLDEN)
def test_set_is_frozen(category, defect):
    """A pixel may differ by one grey level between machines; whoever changes more needs another version."""
    values, area = GOLDEN[category, defect]
    pixels, mask = drawn(category, defect, "test/000")
    np.testing.assert_allclose(pixels[40::80, 40::80, 1].ravel().astype(int), values, atol=1)
    assert mask.sum() == pytest.approx(area, abs=3)


def test_golden_values_cover_the_set():
    assert set(GOLDEN) == {(c, d) for c in DEFECTS for d in ("good", *DEFECTS[c])}
