import json
from pathlib import Path

import pytest
from jsonargparse import ArgumentParser

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.types import Sample
from anomalib_flows.data.datasets.folder import Folder
from anomalib_flows.data.splits import write_splits


@pytest.fixture
def photos(save, tmp_path):
    for i in range(20):
        save(f"photos/good/{i}.png", i)
    for name in ("bad/1.png", "bad/cut/1.png", "bad/cut/deep/2.png", "bad/dent/1.jpg"):
        save(f"photos/{name}")
    return tmp_path / "photos"


def test_good_images_alone_are_all_for_training(photos):
    dataset = Folder(normal=photos / "good")
    assert (dataset.name, dataset.subset) == ("folder", "good")
    assert [s.path.name for s in dataset.samples()] == [f"{i}.png" for i in range(20)]
    assert {(s.split, s.label, s.defect) for s in dataset.samples()} == {("train", 0, "good")}


def test_defective_images_bring_a_test(photos):
    samples = Folder(normal=photos / "good", abnormal=photos / "bad", test_fraction=0.3).samples()
    assert [s.split for s in samples if s.label == 0].count("test") == 6
    assert len({s.path for s in samples}) == len(samples) == 24
    assert {s.path.relative_to(photos).as_posix(): s.defect for s in samples if s.label == 1} == {
        "bad/1.png": "bad",
        "bad/cut/1.png": "cut",
        "bad/cut/deep/2.png": "cut",
        "bad/dent/1.jpg": "dent",
    }
    assert {s.split for s in samples if s.label == 1} == {"test"}


def test_test_images_depend_on_the_seed_alone(photos):
    def drawn(seed: int) -> set[Path]:
        samples = Folder(normal=photos / "good", abnormal=photos / "bad", seed=seed).samples()
        return {s.path for s in samples if s.split == "test"}

    assert drawn(3) == drawn(3)
    assert len({frozenset(drawn(seed)) for seed in range(5)}) > 1


def test_own_good_test_images(photos, save):
    save("photos/more/1.png")
    dataset = Folder(root=photos, normal="good", abnormal="bad", normal_test="more")
    assert dataset.subset == "photos"
    assert [s.path.parent.name for s in dataset.samples() if s.split == "test" and s.label == 0] == ["more"]


def test_masks_mirror_the_defective_images(photos, save):
    for name in ("1.png", "cut/1_mask.png", "cut/deep/2_mask.bmp", "dent/1.PNG"):
        save(f"photos/masks/{name}")
    samples = Folder(root=photos, normal="good", abnormal="bad", masks="masks").samples()
    assert {
        s.path.relative_to(photos / "bad").as_posix(): s.mask.relative_to(photos / "masks").as_posix()
        for s in samples
        if s.label == 1
    } == {
        "1.png": "1.png",
        "cut/1.png": "cut/1_mask.png",
        "cut/deep/2.png": "cut/deep/2_mask.bmp",
        "dent/1.jpg": "dent/1.PNG",
    }


def test_several_folders_each_with_masks(photos, save):
    save("photos/line 2/cut/1.png")
    for side in ("a", "b"):
        save(f"photos/masks {side}/1_mask.png")
    dataset = Folder(root=photos, normal="good", abnormal=["bad/cut", "line 2/cut"], masks=["masks a", "masks b"])
    with pytest.warns(UserWarning, match="1 of 2 defective images lack a mask"):
        masks = {s.path.relative_to(photos).as_posix(): s.mask for s in dataset.samples() if s.label == 1}
    assert masks == {
        "bad/cut/1.png": photos / "masks a/1_mask.png",
        "bad/cut/deep/2.png": None,
        "line 2/cut/1.png": photos / "masks b/1_mask.png",
    }


def test_several_masks_of_an_image_may_lie_in_a_folder(photos, save):
    for name in ("cut/1/a.png", "cut/1/b.png", "cut/deep/2.png"):
        save(f"photos/masks/{name}")
    with pytest.warns(UserWarning, match="2 of 4 defective images lack a mask"):
        samples = Folder(root=photos, normal="good", abnormal="bad", masks="masks").samples()
    masks = {s.path.relative_to(photos).as_posix(): s.mask for s in samples if s.mask}
    assert masks == {
        "bad/cut/1.png": photos / "masks/cut/1",
        "bad/cut/deep/2.png": photos / "masks/cut/deep/2.png",
    }


def test_masks_beside_the_images(photos, save):
    for name in ("good/0_gt", "bad/cut/1_gt", "bad/cut/deep/2_gt"):
        save(f"photos/{name}.bmp")
    with pytest.warns(UserWarning, match="2 of 4 defective images lack a mask"):
        samples = Folder(root=photos, normal="good", abnormal="bad", mask_ending="_gt").samples()
    assert len(samples) == 24
    assert {s.path.stem: s.mask.name for s in samples if s.mask} == {"1": "1_gt.bmp", "2": "2_gt.bmp"}


@pytest.mark.filterwarnings("ignore:1 of 1 defective images lack")
def test_a_photo_beside_an_image_is_not_its_mask(photos, save):
    save("photos/line/bad_1.png")
    save("photos/line/bad_1.jpg")
    data = Folder(root=photos, normal="good", abnormal="line/*.png", mask_ending="_gt")
    assert [s.mask for s in data.samples() if s.label == 1] == [None]


def test_images_that_look_like_masks_are_warned_of(photos, save):
    save("photos/bad/cut/1_mask.png")
    save("photos/good/face_mask.png")  # of no other image
    with pytest.warns(UserWarning, match=r"1 images of `abnormal` .*1_mask.png.* set `mask_ending` _mask") as caught:
        Folder(root=photos, normal="good", abnormal="bad").samples()
    assert len(caught) == 1


@pytest.mark.filterwarnings("ignore:.* left out")
@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("good/1?.png", {f"good/1{i}.png" for i in range(10)}),
        ("g*/[0-3].png", {f"good/{i}.png" for i in range(4)}),
        ("bad/*", {"bad/1.png", "bad/cut/1.png", "bad/cut/deep/2.png", "bad/dent/1.jpg"}),
        ("bad/**/*.png", {"bad/1.png", "bad/cut/1.png", "bad/cut/deep/2.png"}),
        ("o*/c*t/*.png", {"other/cut/1.png"}),
        ("[odd]/*.png", {"[odd]/1.png"}),
    ],
)
def test_patterns(photos, save, pattern, names):
    save("photos/[odd]/1.png")
    save("photos/bad/cut/.hidden.png")
    save("photos/other/cut/1.png")
    save("photos/bad/.hidden/cut/1.png")
    (photos / "bad/cut/notes.txt").touch()
    for dataset in (Folder(root=photos, normal=pattern), Folder(normal=[photos / pattern])):
        assert {s.path.relative_to(photos).as_posix() for s in dataset.samples()} == names


def test_patterns_of_defective_images(photos, save):
    save("photos/masks/cut/1_mask.png")
    dataset = Folder(root=photos, normal="good", abnormal="bad/*/1.*", masks="masks")
    with pytest.warns(UserWarning, match="1 of 2 defective images lack a mask"):
        samples = [s for s in dataset.samples() if s.label == 1]
    assert {(s.path.name, s.defect, s.mask and s.mask.name) for s in samples} == {
        ("1.png", "cut", "1_mask.png"),
        ("1.jpg", "dent", None),
    }
    assert Folder(normal=photos / "*/1?.png").subset == "photos"


def test_images_of_the_same_content_are_not_parted(photos, save):
    for i in range(8):
        save(f"photos/good/again {i}.png", i)
    for seed in range(10):
        samples = Folder(root=photos, normal="good", abnormal="bad", seed=seed).samples()
        used = {s.path.name: s.split for s in samples if s.label == 0}
        assert all(used[f"{i}.png"] == used[f"again {i}.png"] for i in range(8))
        assert "test" in used.values()


@pytest.fixture
def table(photos):
    def write(text: str, name: str = "list.csv") -> Path:
        (photos / name).write_text(text)
        return photos / name

    return write


def test_a_table_of_images_and_labels_is_split_like_folders(photos, table):
    rows = [f"good/{i}.png,good" for i in range(20)] + ["bad/cut/1.png,bad"]
    file = table("\n".join(["path,label", *rows]))
    samples = Folder(table=file).samples()
    assert [s.split for s in samples if s.label == 0].count("test") == 4
    assert [s.path for s in samples if s.label == 1] == [photos / "bad/cut/1.png"]
    assert Folder(table=file).subset == "list"
    assert Folder(root=photos, table="list.csv").subset == "photos"
    assert Folder(root=photos, table="list.csv").samples() == samples


def test_a_table_that_tells_splits_is_followed(photos, table):
    entries = [
        {"path": "good/0.png", "split": "train"},
        {"path": "good/1.png", "split": "calibration"},
        {"path": "bad/cut/1.png", "label": 1, "mask": "bad/1.png", "defect": "cut"},
    ]
    samples = Folder(table=table(json.dumps(entries), "list.json")).samples()
    assert samples == [
        Sample(photos / "bad/cut/1.png", "test", 1, "cut", photos / "bad/1.png"),
        Sample(photos / "good/0.png", "train"),
        Sample(photos / "good/1.png", "calibration"),
    ]


def test_the_splits_of_a_run_are_such_a_table(photos, tmp_path):
    samples = Folder(root=photos, normal="good", abnormal="bad").samples()
    write_splits(samples, tmp_path / "splits.csv")
    assert Folder(table=tmp_path / "splits.csv").samples() == samples


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"normal": "god"}, r"`normal` .*god is not a folder"),
        ({"normal": "empty"}, r"`normal` .*empty has no images: give a folder of images"),
        ({"abnormal": "bda"}, r"`abnormal` .*bda is not a folder"),
        ({"abnormal": "bad", "masks": "msk"}, r"`masks` .*msk is not a folder"),
        ({"abnormal": "bad", "masks": ["a", "b"]}, r"`masks` names 2 folders and `abnormal` 1"),
        ({"masks": "bad"}, r"`masks` names 1 folders and `abnormal` 0"),
        (
            {"normal": ".", "abnormal": "bad"},
            r"`normal` .*photos has a folder of defective images, .*bad: name folders of good images only",
        ),
        (
            {"normal": "bad/cut", "abnormal": "bad"},
            r"cut/1.png belongs to `normal` .*cut and to `abnormal` .*bad: give",
        ),
        ({"normal_test": "good/../good"}, r"0.png belongs to `normal` .* and to `normal_test`"),
        (
            {"abnormal": ["bad", "bad/cut"]},
            r"cut/1.png belongs to `abnormal` .*bad and to `abnormal` .*cut",
        ),
        ({"abnormal": "test"}, r"`abnormal` .*test has a folder of good images"),
        ({"abnormal": "bad", "seed": -1}, "`data.seed` cannot be -1"),
        ({"normal": "good/x*"}, r"`normal` .*good/x\* matches no images: give a folder or a pattern of"),
        ({"normal": "good/**.png"}, r".*\*\*.png (is not a pattern|matches no images)"),
        ({"normal": []}, "`normal`, a folder of good images, or `table`, a list of all images, must be given"),
        ({"table": "list.csv"}, "`table` lists all images: leave out `normal`"),
        ({"table": "list.csv", "normal": []}, "list.csv does not exist"),
        ({"table": "good", "normal": []}, "good is a folder: name the CSV or JSON file"),
        ({"test_fraction": 1.0}, r"`test_fraction` cannot be 1.0: it must be a share"),
    ],
)
def test_wrong_folders_are_named(photos, save, options, fault):
    (photos / "empty").mkdir()
    save("photos/test/good/1.png")
    with pytest.raises(InputError, match=fault):
        Folder(**{"root": photos, "normal": "good"} | options).samples()


@pytest.mark.parametrize(
    ("arguments", "normal"),
    [
        (["--data.normal", "photos/good"], Path("photos/good")),
        (["--data.normal", "my photos, good"], Path("my photos, good")),
        (["--data.normal", "001"], Path("001")),
        (["--data.normal", "[one,two]"], [Path("one"), Path("two")]),
        (["--data.normal+", "one", "--data.normal+", "two"], [Path("one"), Path("two")]),
    ],
)
def test_command_line_takes_one_folder_or_several(arguments, normal):
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Folder, "data")
    dataset = parser.instantiate(parser.parse_args([*arguments, "--data.abnormal", "bad"])).data
    assert (dataset.normal, dataset.abnormal) == (normal, Path("bad"))
