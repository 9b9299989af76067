from __future__ import annotations

import shutil
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomalib_flows.core.errors import InputError
from anomalib_flows.data.checks.inspection import Inspection, inspect_dataset, mvtec_datasets
from anomalib_flows.data.datasets.folder import Folder
from anomalib_flows.data.datasets.mvtec import MVTec


@pytest.fixture
def nut(save, tmp_path: Path) -> Path:
    """A category in which nothing is wrong: 3 images to train on, 2 good and 2 defective ones to test on."""
    for i, name in enumerate(["train/good/0", "train/good/1", "train/good/2", "test/good/0", "test/good/1"]):
        save(f"nut/{name}.png", 50 + i)
    for i in range(2):
        save(f"nut/test/cut/{i}.png", 90 + i)
        save(f"nut/ground_truth/cut/{i}_mask.png", np.eye(8, dtype=np.uint8)[:6])
    return tmp_path / "nut"


def look(folder: Path) -> Inspection:
    return inspect_dataset(MVTec(root=folder.parent, category=folder.name))


def test_where_nothing_is_wrong_nothing_is_said(nut: Path, save) -> None:
    save("nut/train/good/3.png", 200, size=(10, 12))
    found = look(nut)
    assert found.faults == found.remarks == []
    assert len(found.sound) == 8
    assert found.sizes == Counter({(6, 8): 7, (10, 12): 1})
    assert found.kinds == Counter({"PNG, grey, 8 bits": 8})


@pytest.mark.parametrize("damage", ["truncated", "zero-byte", "text"])
@pytest.mark.parametrize("name", ["train/good/1.png", "test/cut/0.png", "ground_truth/cut/1_mask.png"])
def test_broken_files_are_faults(nut: Path, name: str, damage: str) -> None:
    file = nut / name
    content = {"truncated": file.read_bytes()[:45], "zero-byte": b"", "text": b"no image"}[damage]
    file.write_bytes(content)
    found = look(nut)
    words = {"truncated": "is damaged", "zero-byte": "is empty (0 bytes)", "text": "is not an image"}[damage]
    assert [fault.startswith(f"{file} {words}") for fault in found.faults] == [True]
    assert len(found.sound) == 6


def test_a_mask_of_another_size_is_a_fault(nut: Path, save) -> None:
    save("nut/ground_truth/cut/1_mask.png", 255, size=(5, 5))
    assert ["1_mask.png is 5 x 5" in fault for fault in look(nut).faults] == [True]


def test_the_same_content_in_two_splits_is_a_fault(nut: Path) -> None:
    for name in ("test/good/7.png", "test/good/8.png"):
        shutil.copy(nut / "train/good/1.png", nut / name)
    (fault,) = look(nut).faults
    assert fault.endswith("the same content in several splits; keep one.")
    for name in ("train/good/1.png (train good)", "test/good/7.png (test good)", "test/good/8.png (test good)"):
        assert f"{nut / name}" in fault


def test_the_same_content_in_one_split_is_a_remark(nut: Path) -> None:
    shutil.copy(nut / "train/good/1.png", nut / "train/good/9.png")
    shutil.copy(nut / "test/good/1.png", nut / "test/cut/1.png")
    found = look(nut)
    assert found.faults == []
    (remark,) = found.remarks
    assert f"{nut}/train/good/1.png (train good) = {nut}/train/good/9.png (train good)" in remark
    assert f"{nut}/test/cut/1.png (test cut) = {nut}/test/good/1.png (test good)" in remark


def test_empty_missing_and_lonely_masks_are_named(nut: Path, save) -> None:
    save("nut/ground_truth/cut/0_mask.png", 0)
    (nut / "ground_truth/cut/1_mask.png").rename(nut / "ground_truth/cut/5_mask.png")
    save("nut/ground_truth/hole/3_mask.png", np.eye(8, dtype=np.uint8)[:6])
    empty, missing, lonely = look(nut).remarks
    assert empty.splitlines()[1:] == [f"  {nut}/ground_truth/cut/0_mask.png"]
    assert missing.splitlines()[1:] == [f"  {nut}/test/cut/1.png"]
    assert lonely.splitlines()[1:] == [f"  {nut}/ground_truth/cut/5_mask.png", f"  {nut}/ground_truth/hole/3_mask.png"]
    assert [text.splitlines()[0][-4:] for text in (empty, missing, lonely)] == ["(1):", "(1):", "(2):"]


@pytest.mark.parametrize("misnamed", [False, True])
def test_a_dataset_without_any_masks_is_not_listed(nut: Path, misnamed: bool) -> None:
    folder = nut / "ground_truth/cut"
    for file in folder.iterdir():
        file.rename(folder / file.name.replace("_mask", "-gt")) if misnamed else file.unlink()
    none, *lonely = look(nut).remarks
    assert none == "None of 2 defective images has a mask: they count for image metrics only."
    listed = ["Masks without an image (2):", f"  {folder}/0-gt.png", f"  {folder}/1-gt.png"]
    assert [line for text in lonely for line in text.splitlines()] == (listed if misnamed else [])


def test_masks_of_images_that_are_left_out_are_not_lonely(nut: Path) -> None:
    (nut / "nut_test.json").write_text(
        '{"0": {"name": "0", "img_type": "cut"}, "1": {"name": "0", "img_type": "good"}}'
    )
    assert ["leaves out 2 of 4 images of test" in remark for remark in look(nut).remarks] == [True]


def test_masks_of_which_an_image_has_several_are_not_lonely(nut: Path, save) -> None:
    for i in range(2):
        (nut / f"ground_truth/cut/{i}_mask.png").unlink()
        save(f"nut/ground_truth/cut/{i}/a.png", np.eye(8, dtype=np.uint8)[:6])
    save("nut/ground_truth/cut/7/a.png", 255)
    (remark,) = look(nut).remarks
    assert remark.splitlines()[1:] == [f"  {nut}/ground_truth/cut/7/a.png"]


def test_folders_that_are_links_out_of_the_root_are_named(nut: Path, save, tmp_path: Path) -> None:
    bolt = shutil.copytree(nut, tmp_path / "root/bolt")
    (bolt / "test/dent").symlink_to(save("elsewhere/0.png", 33).parent)
    (bolt.parent / "nut").symlink_to(nut)
    (remark,) = [text for text in look(bolt).remarks if "Links that leave" in text]
    assert remark.splitlines()[1:] == [f"  {bolt}/test/dent/0.png"]
    (remark,) = look(bolt.parent / "nut").remarks
    assert "Links that leave" in remark
    assert "(9):" in remark, "seven images and two masks"


def test_masks_of_another_category_are_not_lonely(tmp_path: Path, save) -> None:
    """As in ShanghaiTech Campus, where all scenes share a folder of masks."""
    save("good/0.png", 1)
    for scene in ("01", "02"):
        save(f"frames/{scene}/0.png", int(scene) + 100)
        save(f"masks/{scene}/0.png", np.eye(8, dtype=np.uint8)[:6])
    data = Folder(normal=tmp_path / "good", abnormal=tmp_path / "frames/01", masks=tmp_path / "masks/01")
    save("good/1.png", 2)
    assert inspect_dataset(data).remarks == []


def test_links_that_leave_the_root_are_named(nut: Path, save, tmp_path: Path) -> None:
    outside = save("elsewhere/1.png", 33)
    (nut / "train/good/out.png").symlink_to(outside)
    other = nut / "train/good/within.png"
    (nut / "spare").mkdir()
    save("nut/spare/1.png", 34)
    other.symlink_to(nut / "spare/1.png")
    found = inspect_dataset(MVTec(root=nut.rename(tmp_path / "all").parent / "all", category="."))
    others, remark = found.remarks
    assert others == f"{tmp_path}/all: left out spare (1 images)."
    assert remark.splitlines()[1:] == [f"  {tmp_path}/all/train/good/out.png"]
    assert "Links that leave" in remark
    assert found.faults[0].startswith(f"{tmp_path}/all/train/good/within.png does not exist")


def test_a_dataset_that_cannot_be_listed_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "nut/train").mkdir(parents=True)
    found = look(tmp_path / "nut")
    assert ["has no folder train/good" in fault for fault in found.faults] == [True]
    assert not found.sound


def test_grey_levels_of_a_dark_camera_are_remarked(tmp_path: Path, save) -> None:
    for i in range(2):
        Image.fromarray(np.full((6, 8), 1000 + i, np.uint16)).save(save(f"good/{i}.png"))
    found = inspect_dataset(Folder(normal=tmp_path / "good"))
    assert ["bits" in remark for remark in found.remarks] == [True]
    assert found.kinds == Counter({"PNG, grey, 16 bits": 2})


def test_what_the_adapter_warns_of_is_reported(tmp_path: Path, save, monkeypatch: pytest.MonkeyPatch) -> None:
    save("good/0.png")
    listed = Folder(normal=tmp_path / "good").samples()

    def samples(self: Folder) -> object:
        warnings.warn("published with other counts", UserWarning, stacklevel=1)
        return listed

    monkeypatch.setattr(Folder, "samples", samples)
    assert inspect_dataset(Folder(normal=tmp_path / "good")).remarks == ["published with other counts"]


def test_images_and_masks_are_counted_by_split_and_kind(nut: Path, save) -> None:
    save("nut/ground_truth/cut/1_mask.png", 0)
    save("nut/test/bent/0.png", 150)
    assert [tuple(group) for group in look(nut).groups] == [
        ("train", 0, "good", 3, 0, 0),
        ("test", 0, "good", 2, 0, 0),
        ("test", 1, "bent", 1, 0, 0),
        ("test", 1, "cut", 2, 2, 1),
    ]


def test_a_bare_folder_is_a_category_or_has_some(nut: Path, save, monkeypatch: pytest.MonkeyPatch) -> None:
    assert mvtec_datasets(nut) == [MVTec(root=nut.parent, category="nut")]
    save("bolt/train/good/0.png")
    assert [dataset.subset for dataset in mvtec_datasets(nut.parent)] == ["bolt", "nut"]
    monkeypatch.chdir(nut / "train")
    assert mvtec_datasets(Path("..")) == [MVTec(root=nut.parent, category="nut")]
    with pytest.raises(InputError, match="none is not a folder: check the path"):
        mvtec_datasets(nut / "none")
    with pytest.raises(InputError, match="test is not in MVTec AD's layout.* give the dataset as `data`"):
        mvtec_datasets(nut / "test")


def test_a_page_that_cannot_be_read_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "good").mkdir()
    for i in range(2):
        Image.fromarray(np.arange(48, dtype=np.uint8).reshape(6, 8) * 5 + i).save(tmp_path / f"good/{i}.tif")
    file = tmp_path / "good/0.tif"
    content = bytearray(file.read_bytes())
    first = int.from_bytes(content[4:8], "little")
    entries = int.from_bytes(content[first : first + 2], "little")
    place = first + 2 + 12 * entries
    content[place : place + 4] = (len(content)).to_bytes(4, "little")  # a second page without dimensions
    file.write_bytes(content + bytes(6))
    found = inspect_dataset(Folder(normal=tmp_path / "good"))
    assert found.faults == found.remarks == []
    assert len(found.sound) == 2


def test_masks_in_lossy_files_are_not_said_to_have_many_values(tmp_path: Path) -> None:
    for name in ("good/0", "bad/0", "masks/0"):
        pixels = np.random.default_rng(len(name)).integers(0, 255, (64, 64), np.uint8)
        if name == "masks/0":
            pixels = np.kron(np.eye(4), np.ones((16, 16))).astype(np.uint8) * 255
        (tmp_path / name).parent.mkdir()
        Image.fromarray(pixels).save(tmp_path / f"{name}.jpg", quality=60)
    found = inspect_dataset(Folder(root=tmp_path, normal=Path("good"), abnormal=Path("bad"), masks=Path("masks")))
    assert not any("different values" in remark for remark in found.remarks)
