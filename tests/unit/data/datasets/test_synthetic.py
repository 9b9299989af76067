import numpy as np
import pytest
from PIL import Image

from anomalib_flows.core.errors import InputError
from anomalib_flows.data.datasets import synthetic
from anomalib_flows.data.datasets.synthetic import Synthetic, draw_category, plan_images
from anomalib_flows.data.drawing.scene import DEFECTS, draw_photograph


@pytest.fixture
def few(monkeypatch):
    """Draw seven images of a category instead of all."""
    for name, count in {"TRAIN_GOOD": 2, "TEST_GOOD": 1, "TEST_DEFECTIVE": 4}.items():
        monkeypatch.setattr(synthetic, name, count)


def blank(*_):
    """Stand in for :func:`draw_photograph` where the pixels do not matter."""
    return np.zeros((8, 8, 3), np.uint8), np.ones((8, 8), bool)


@pytest.fixture
def few_blank(few, monkeypatch):
    monkeypatch.setattr(synthetic, "draw_photograph", blank)


@pytest.mark.parametrize("category", DEFECTS)
def test_plan_has_every_defect_equally_often_and_no_image_twice(category):
    plan = list(plan_images(category))
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
        pixels, mask = draw_photograph("fabric", sample.defect, f"{sample.split}/{sample.path.stem}")
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
    monkeypatch.setattr(synthetic, "draw_photograph", None)
    assert data.samples() == first


def test_interrupted_drawing_leaves_nothing(tmp_path, few_blank, monkeypatch):
    def interrupt_at_the_third(*_):
        if len(list(tmp_path.rglob("*.png"))) == 2:
            raise KeyboardInterrupt
        return blank()

    monkeypatch.setattr(synthetic, "draw_photograph", interrupt_at_the_third)
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

    monkeypatch.setattr(synthetic, "draw_photograph", draw_and_lose_the_race)
    assert len(Synthetic(root=tmp_path, category="fabric").samples()) == 7
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fabric", "other"]


def test_unknown_category(tmp_path):
    with pytest.raises(InputError, match="no category of synthetic 'fabrik': did you mean 'fabric'"):
        Synthetic(root=tmp_path, category="fabrik").samples()


def test_root_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot be written .* choose another `root`"):
        Synthetic(root=tmp_path / "file").samples()


def test_root_is_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert Synthetic().root == tmp_path / "anomalib-flows" / "synthetic-v1"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert Synthetic().root == tmp_path / "home" / ".cache" / "anomalib-flows" / "synthetic-v1"


def test_names_in_the_run_directory():
    assert (Synthetic().name, Synthetic(category="board").subset) == ("synthetic", "board")
