import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from anomalib_flows.core import registry
from anomalib_flows.core.errors import InputError
from anomalib_flows.core.types import Sample
from anomalib_flows.data.datasets.base import Counts, count
from anomalib_flows.data.datasets.btad import BTAD
from anomalib_flows.data.datasets.mvtec import MVTec
from anomalib_flows.data.datasets.mvtec_ad2 import MVTecAD2
from anomalib_flows.data.datasets.mvtec_loco import MVTecLOCO
from anomalib_flows.data.loading.reading import read_sample

PUBLISHED = {
    "mvtec": (15, 5354),
    "mvtec_ad2": (8, 2528 + 302 + 1084),
    "mvtec_loco": (5, 3651),
    "btad": (3, 2540),
    "visa": (12, 10821),
}
"""Number of categories and of images with labels that the makers, or who counted them, say that there are."""


def by_name(samples: list[Sample], folder: Path) -> dict[str, tuple[str, int, str, str | None]]:
    """What is said of each image."""

    def short(path: Path) -> str:
        return path.relative_to(folder).as_posix()

    return {short(s.path): (s.split, s.label, s.defect, s.mask and short(s.mask)) for s in samples}


@pytest.mark.parametrize("name", PUBLISHED)
def test_cards_are_complete_and_add_up(name):
    card = registry.load("datasets", name).card
    assert all((card.title, card.homepage.startswith("https://"), card.licence, card.citation, card.archives))
    assert (len(card.counts), sum(map(sum, card.counts.values()))) == PUBLISHED[name]
    assert all(re.fullmatch("sha256:[0-9a-f]{64}", archive.checksum) for archive in card.archives)
    assert all(archive.url.endswith(f"/{archive.file}") for archive in card.archives)


def test_btad_has_good_images_in_ok_and_masks_of_any_format(save, tmp_path):
    for name in ("train/ok/0.bmp", "train/ok/1.png", "test/ok/0.bmp", "test/ko/0.bmp", "test/ko/1.png"):
        save(f"00/{name}")
    for name in ("ko/0.png", "ko/1.bmp", "ok/0.png"):
        save(f"00/ground_truth/{name}")
    assert by_name(BTAD(root=tmp_path, category="00").samples(), tmp_path / "00") == {
        "train/ok/0.bmp": ("train", 0, "good", None),
        "train/ok/1.png": ("train", 0, "good", None),
        "test/ok/0.bmp": ("test", 0, "good", None),
        "test/ko/0.bmp": ("test", 1, "ko", "ground_truth/ko/0.png"),
        "test/ko/1.png": ("test", 1, "ko", "ground_truth/ko/1.bmp"),
    }


def test_ad2_calibrates_with_images_for_validation_and_leaves_out_private_ones(save, tmp_path):
    for name in ("train/good/0", "validation/good/0", "test_public/good/0", "test_public/bad/0_shift_1"):
        save(f"tin/{name}.png")
    for name in ("test_public/ground_truth/bad/0_shift_1_mask", "test_private/1", "test_private_mixed/1"):
        save(f"tin/{name}.png")
    mask = "test_public/ground_truth/bad/0_shift_1_mask.png"
    assert by_name(MVTecAD2(root=tmp_path, category="tin").samples(), tmp_path / "tin") == {
        "train/good/0.png": ("train", 0, "good", None),
        "validation/good/0.png": ("calibration", 0, "good", None),
        "test_public/good/0.png": ("test", 0, "good", None),
        "test_public/bad/0_shift_1.png": ("test", 1, "bad", mask),
    }


def test_loco_unites_the_masks_of_an_image(save, tmp_path):
    for name in ("train/good/000", "validation/good/000", "test/good/000", "test/logical_anomalies/000"):
        save(f"box/{name}.png", size=(2, 3))
    save("box/ground_truth/logical_anomalies/000/000.png", np.array([[1, 0, 0], [0, 0, 0]], np.uint8))
    save("box/ground_truth/logical_anomalies/000/001.png", np.array([[0, 0, 0], [0, 0, 200]], np.uint8))
    samples = MVTecLOCO(root=tmp_path, category="box").samples()
    folder = "ground_truth/logical_anomalies/000"
    assert by_name(samples, tmp_path / "box")["test/logical_anomalies/000.png"] == (
        "test",
        1,
        "logical_anomalies",
        folder,
    )
    assert [s.split for s in samples].count("calibration") == 1
    _, mask = read_sample(next(s for s in samples if s.mask))
    assert mask.tolist() == [[True, False, False], [False, False, True]]


def test_a_category_of_another_layout_says_which_folder_it_lacks(save, tmp_path):
    save("01/train/ok/0.png")
    with pytest.raises(InputError, match="01 has no folder train/good"):
        MVTec(root=tmp_path, category="01").samples()


def test_numbers_that_differ_from_the_published_ones_are_said_once(save, tmp_path):
    for name in ("train/good/0", "test/good/0", "test/cut/0", "ground_truth/cut/0_mask"):
        save(f"leather/{name}.png")
    with pytest.warns(UserWarning, match="compare") as caught:
        samples = MVTec(root=tmp_path, category="leather").samples()
    [warning] = caught
    assert str(warning.message).startswith(
        "leather of MVTec AD is published with 245 images to train on and 32 good and 92 defective ones to test on; "
        "here are 1 images to train on and 1 good and 1 defective ones to test on:"
    )
    assert count(samples) == Counts(1, 1, 1)


def test_published_numbers_and_unknown_categories_are_silent(save, tmp_path, recwarn):
    image = save("image.png")
    for use, number in {"train/good": 60, "test/good": 12, "test/defective": 30, "ground_truth/defective": 30}.items():
        (tmp_path / "toothbrush" / use).mkdir(parents=True, exist_ok=True)
        for i in range(number):
            shutil.copy(image, tmp_path / "toothbrush" / use / f"{i}.png")
    assert count(MVTec(root=tmp_path, category="toothbrush").samples()) == Counts(60, 12, 30)
    shutil.copytree(tmp_path / "toothbrush/train", tmp_path / "brush/train")
    assert len(MVTec(root=tmp_path, category="brush").samples()) == 60
    assert not recwarn.list


@pytest.fixture
def split_file(save, tmp_path):
    """Write a split file of the category nut, in a folder of the root."""
    for name in ("train/good/0", "train/good/1", "test/good/0", "test/cut/0", "ground_truth/cut/0_mask"):
        save(f"nut/{name}.png")

    def write(split: str, content: object, folder: str = "nut") -> None:
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        text = content if isinstance(content, str) else json.dumps(content)
        (tmp_path / folder / f"nut_{split}.json").write_text(text)

    return write


@pytest.mark.parametrize("folder", ["nut", "json/nut"])
def test_split_files_choose_images(split_file, tmp_path, folder):
    split_file("train", {"0": {"name": "1", "img_type": "good"}}, folder)
    split_file("test", {"0": {"name": "0", "img_type": "cut"}}, folder)
    with pytest.warns(UserWarning, match="leaves out 1 of 2 images") as caught:
        samples = MVTec(root=tmp_path, category="nut").samples()
    assert [s.path.relative_to(tmp_path / "nut").as_posix() for s in samples] == ["test/cut/0.png", "train/good/1.png"]
    assert [str(w.message).partition(" leaves")[0] for w in caught] == [
        str(tmp_path / folder / f"nut_{split}.json") for split in ("train", "test")
    ]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ({"0": {"name": "7", "img_type": "good"}}, "names good/7, which is not in train"),
        ({"0": {"name": "0", "img_type": "cut"}}, "names cut/0, which is not in train"),
        (["good/0.png"], "is not of the form"),
        ({"0": "good/0.png"}, "is not of the form"),
        ("{", "is not of the form"),
    ],
)
def test_split_files_of_no_use_are_named(split_file, tmp_path, content, fault):
    split_file("train", content)
    with pytest.raises(InputError, match=f"nut_train.json {fault}"):
        MVTec(root=tmp_path, category="nut").samples()
