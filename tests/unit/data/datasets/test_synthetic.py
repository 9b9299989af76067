import functools

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from anomalib_flows.core.errors import InputError
from anomalib_flows.data.datasets import synthetic
from anomalib_flows.data.datasets.synthetic import Synthetic, draw_category, photographs
from anomalib_flows.data.drawing import SIZE, draw
from anomalib_flows.data.drawing.defects import DEFECTS

drawn = functools.cache(draw)
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


@pytest.fixture
def few(monkeypatch):
    """Draw seven images of a category instead of all."""
    for name, count in {"TRAIN_GOOD": 2, "TEST_GOOD": 1, "TEST_DEFECTIVE": 4}.items():
        monkeypatch.setattr(synthetic, name, count)


def blank(*_):
    """Stand in for :func:`draw` where the pixels do not matter."""
    return np.zeros((8, 8, 3), np.uint8), np.ones((8, 8), bool)


@pytest.fixture
def few_blank(few, monkeypatch):
    monkeypatch.setattr(synthetic, "draw", blank)


@pytest.mark.parametrize(("category", "defect"), EVERY_DEFECT)
def test_mask_marks_what_differs_from_the_same_photograph_without_the_defect(category, defect, monkeypatch):
    spoilt, mask = drawn(category, defect, "test/000")
    monkeypatch.setitem(DEFECTS[category], defect, lambda _, canvas: canvas)
    sound, nothing = draw(category, defect, "test/000")
    assert not nothing.any()
    change = abs(spoilt.astype(int) - sound).max(axis=2)
    assert (change[mask] >= 4).mean() > 0.5
    assert change[~ndimage.binary_dilation(mask, iterations=2)].max() < 16
    assert 30 < mask.sum() < 0.12 * SIZE**2
    assert abs(spoilt.mean() - sound.mean()) < 3


def test_brightness_varies_more_between_good_images_than_by_any_defect():
    """See the limit of 3 grey levels in the test above."""
    assert np.std([drawn("fabric", "good", f"test/{i:03d}")[0].mean() for i in range(6)]) > 6


@pytest.mark.parametrize("category", DEFECTS)
def test_plan_has_every_defect_equally_often_and_no_image_twice(category):
    plan = list(photographs(category))
    assert len(plan) == len(set(plan))
    counts = [sum(defect == kind for _, defect, _ in plan) for kind in DEFECTS[category]]
    assert max(counts) - min(counts) <= 1
    assert all(defect == "good" for split, defect, _ in plan if split == "train")


def test_samples_are_drawn_in_the_layout_of_mvtec_and_listed(tmp_path, few_blank):
    samples = Synthetic(root=tmp_path / "new", category="plate").samples()
    folder = tmp_path / "new" / "plate"
    expected = {
        "train/good/000.png": ("train", 0, "good", None),
        "train/good/001.png": ("train", 0, "good", None),
        "test/good/000.png": ("test", 0, "good", None),
    }
    for kind in sorted(DEFECTS["plate"])[:4]:
        mask = folder / f"ground_truth/{kind}/000_mask.png"
        expected[f"test/{kind}/000.png"] = ("test", 1, kind, mask)
    listed = {str(s.path.relative_to(folder)): (s.split, s.label, s.defect, s.mask) for s in samples}
    assert listed == expected
    assert [s.path for s in samples] == sorted(s.path for s in samples)
    assert list((tmp_path / "new").iterdir()) == [folder]


def test_files_hold_what_was_drawn(tmp_path, few):
    for sample in Synthetic(root=tmp_path, category="fabric").samples():
        pixels, mask = draw("fabric", sample.defect, f"{sample.split}/{sample.path.stem}")
        with Image.open(sample.path) as image:
            assert image.mode == "RGB"
            np.testing.assert_array_equal(image, pixels)
        if sample.mask:
            with Image.open(sample.mask) as image:
                assert image.mode == "L"
                np.testing.assert_array_equal(image, 255 * mask.astype(np.uint8))


def test_a_drawn_category_is_not_drawn_again(tmp_path, few_blank, monkeypatch):
    data = Synthetic(root=tmp_path, category="fabric")
    first = data.samples()
    monkeypatch.setattr(synthetic, "draw", None)
    assert data.samples() == first


def test_interrupted_drawing_leaves_nothing(tmp_path, few_blank, monkeypatch):
    def interrupt_at_the_third(*_):
        if len(list(tmp_path.rglob("*.png"))) == 2:
            raise KeyboardInterrupt
        return blank()

    monkeypatch.setattr(synthetic, "draw", interrupt_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        Synthetic(root=tmp_path, category="fabric").samples()
    assert not list(tmp_path.iterdir())


def test_of_two_drawings_at_a_time_one_counts(tmp_path, few_blank, monkeypatch):
    """Another process finishes while this one is drawing its last image."""
    folder, other, count = tmp_path / "fabric", tmp_path / "other" / "fabric", 0
    draw_category(other)

    def draw_and_lose_the_race(*_):
        nonlocal count
        count += 1
        if count == 7:
            other.rename(folder)
        return blank()

    monkeypatch.setattr(synthetic, "draw", draw_and_lose_the_race)
    assert len(Synthetic(root=tmp_path, category="fabric").samples()) == 7
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fabric", "other"]


def test_unknown_category(tmp_path):
    with pytest.raises(InputError, match="no category of synthetic 'fabrik': did you mean 'fabric'"):
        Synthetic(root=tmp_path, category="fabrik").samples()


def test_root_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot be written .* give another --data.root"):
        Synthetic(root=tmp_path / "file").samples()


def test_root_is_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert Synthetic().root == tmp_path / "anomalib-flows" / "synthetic-v1"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert Synthetic().root == tmp_path / "home" / ".cache" / "anomalib-flows" / "synthetic-v1"


def test_names_in_the_run_directory():
    assert (Synthetic().name, Synthetic(category="board").subset) == ("synthetic", "board")


@pytest.mark.parametrize(("category", "defect"), GOLDEN)
def test_set_is_frozen(category, defect):
    """A pixel may differ by one grey level between machines; whoever changes more needs another version."""
    values, area = GOLDEN[category, defect]
    pixels, mask = drawn(category, defect, "test/000")
    np.testing.assert_allclose(pixels[40::80, 40::80, 1].ravel().astype(int), values, atol=1)
    assert mask.sum() == pytest.approx(area, abs=3)


def test_golden_values_cover_the_set():
    assert set(GOLDEN) == {(c, d) for c in DEFECTS for d in ("good", *DEFECTS[c])}
