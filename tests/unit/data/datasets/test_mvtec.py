import os
from collections import Counter
from pathlib import Path

import pytest

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.types import Sample
from anomalib_flows.data.checks.checking import check
from anomalib_flows.data.datasets.mvtec import MVTec


def listed(root: Path, category: str = "nut") -> dict[str, Sample]:
    samples = MVTec(root=root, category=category).samples()
    found = {sample.path.relative_to(root / category).as_posix(): sample for sample in samples}
    assert len(found) == len(samples)
    return found


@pytest.mark.filterwarnings("ignore:.* left out")
def test_layout_with_awkward_names(save, tmp_path):
    for name in (
        "train/good/1.PNG",
        "train/good/2.bmp",
        "train/good/._1.png",
        "train/good/more/3.png",
        "train/good/Thumbs.db.txt",
        "test/good/1.jpg",
        "test/cut/1.JPG",
        "test/cut/2.bmp",
        "test/big hole/1.png",
        "test/.cache/1.png",
        "ground_truth/cut/1_mask.png",
        "ground_truth/cut/2.png",
        "ground_truth/cut/7_mask.png",
        "ground_truth/big hole/1_mask.BMP",
    ):
        save(f"nut/{name.replace('.txt', '.png')}").rename(tmp_path / "nut" / name)
    dataset = MVTec(root=tmp_path, category="nut")
    assert (dataset.name, dataset.subset) == ("mvtec", "nut")
    found = listed(tmp_path)
    assert list(found) == [
        "test/big hole/1.png",
        "test/cut/1.JPG",
        "test/cut/2.bmp",
        "test/good/1.jpg",
        "train/good/1.PNG",
        "train/good/2.bmp",
        "train/good/more/3.png",
    ]
    truth = tmp_path / "nut" / "ground_truth"
    assert {name: (s.split, s.label, s.defect, s.mask) for name, s in found.items()} == {
        "test/big hole/1.png": ("test", 1, "big hole", truth / "big hole/1_mask.BMP"),
        "test/cut/1.JPG": ("test", 1, "cut", truth / "cut/1_mask.png"),
        "test/cut/2.bmp": ("test", 1, "cut", truth / "cut/2.png"),
        "test/good/1.jpg": ("test", 0, "good", None),
        **{f"train/good/{name}": ("train", 0, "good", None) for name in ("1.PNG", "2.bmp", "more/3.png")},
    }


def test_training_images_are_enough(save, tmp_path):
    save("nut/train/good/1.png")
    assert list(listed(tmp_path)) == ["train/good/1.png"]


def test_missing_masks_give_one_warning(save, tmp_path):
    for name in ("train/good/1", "test/cut/1", "test/dent/1", "test/good/1", "ground_truth/cut/1_mask"):
        save(f"nut/{name}.png")
    with pytest.warns(UserWarning, match="1 of 2 defective images lack a mask") as caught:
        found = listed(tmp_path)
    assert len(caught) == 1
    assert [name for name, sample in found.items() if sample.mask] == ["test/cut/1.png"]


def test_wrong_roots_and_categories_say_what_to_type(save, tmp_path):
    save("sets/nut/train/good/1.png")
    save("sets/photos/1.png")
    (tmp_path / "sets" / "bolt" / "train" / "good").mkdir(parents=True)
    (tmp_path / "empty").mkdir()

    def fault(root: str, category: str) -> str:
        with pytest.raises(InputError) as raised:
            MVTec(root=tmp_path / root, category=category).samples()
        return str(raised.value)

    assert "did you mean 'nut'?" in fault("sets", "nit")
    assert fault("sets", "zzz").endswith("there are bolt, nut.")
    assert f"`root` {tmp_path / 'none'} is not a folder" in fault("none", "nut")
    assert "has no category" in fault("empty", "nut")
    assert f"set `root` {tmp_path / 'sets'} and `category` nut." in fault("sets/nut", "nut")
    assert "has no folder train/good" in fault("sets", "photos")
    assert "has no images" in fault("sets", "bolt")


def test_category_may_end_in_a_slash(save, tmp_path):
    save("nut/train/good/1.png")
    assert MVTec(root=tmp_path, category="nut/").subset == "nut"


@pytest.mark.slow
@pytest.mark.skipif("ANOMALIB_FLOWS_DATA" not in os.environ, reason="needs ANOMALIB_FLOWS_DATA")
def test_real_sets():
    root = Path(os.environ["ANOMALIB_FLOWS_DATA"])
    samples = MVTec(root=root, category="magnetic_tile").samples()
    assert Counter((s.split, s.label, s.mask is not None) for s in samples) == {
        ("train", 0, False): 761,
        ("test", 0, False): 191,
        ("test", 1, True): 392,
    }
    with pytest.warns(UserWarning, match="4 masks of defective images are empty"):
        assert len(check(samples, "stop")) == 1344
    with pytest.warns(UserWarning, match="9 of 20 defective images lack a mask|published with") as caught:
        assert len(MVTec(root=root, category="leather").samples()) == 28
    assert [" of MVTec AD is published with 245 images" in str(warning.message) for warning in caught] == [False, True]


def test_numbers_of_several_categories_are_compared_one_by_one(save, tmp_path):
    for name in ("tile/train/good/1.png", "wood/train/good/1.png", "nut/train/good/1.png"):
        save(name)
    with pytest.warns(UserWarning, match="is published with") as caught:
        MVTec(root=tmp_path, category=["tile", "wood", "nut"]).samples()
    assert [str(warning.message).split(" of ")[0] for warning in caught] == ["tile", "wood"]


def test_the_name_of_many_categories_stays_short_enough_for_a_folder(tmp_path):
    names = [f"category_{i:02}" for i in range(40)]
    assert MVTec(root=tmp_path, category=names).subset == "category_00+39 others"
