from pathlib import Path

import pytest
from jsonargparse import ArgumentParser

from anomalib_flows.data.folder import Folder
from anomalib_flows.types import InputError


@pytest.fixture
def photos(save, tmp_path):
    for i in range(20):
        save(f"photos/good/{i}.png")
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


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"normal": "god"}, r"--data.normal .*god is not a folder"),
        ({"normal": "empty"}, r"--data.normal .*empty holds no images: give a folder of .bmp"),
        ({"abnormal": "bda"}, r"--data.abnormal .*bda is not a folder"),
        ({"abnormal": "bad", "masks": "msk"}, r"--data.masks .*msk is not a folder"),
        ({"abnormal": "bad", "masks": ["a", "b"]}, r"--data.masks names 2 folders and --data.abnormal 1"),
        ({"masks": "bad"}, r"--data.masks names 1 folders and --data.abnormal 0"),
        (
            {"normal": ".", "abnormal": "bad"},
            r"--data.normal .*photos and --data.abnormal .*bad are the same or",
        ),
        ({"normal_test": "good/../good"}, r"--data.normal .* and --data.normal_test .* are the same or"),
        (
            {"abnormal": ["bad", "bad/cut"]},
            r"--data.abnormal .*bad and --data.abnormal .*cut are the same or",
        ),
        ({"abnormal": "test"}, r"--data.abnormal .*test has a folder of good images"),
        ({"abnormal": "bad", "seed": -1}, "seed is -1"),
        ({"test_fraction": 1.0}, r"--data.test_fraction cannot be 1.0: it must be a share"),
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
