import shutil
import warnings
from pathlib import Path

import pytest

from anomalib_flows.core.types import Sample
from anomalib_flows.data.identity import find_duplicates, united, warn_of_leaks


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    contents = {"a": b"one", "b": b"two", "c": b"longer", "d": b"one", "e": b"two", "f": b"one", "g": b""}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return {name: tmp_path / name for name in contents}


def test_files_of_the_same_content_are_mapped_to_the_first(files):
    expected = {"a": "a", "d": "a", "f": "a", "b": "b", "e": "b"}
    found = {files[name]: files[first] for name, first in expected.items()}
    assert find_duplicates(files.values()) == found
    assert find_duplicates(reversed(list(files.values()))) == found


def test_a_file_that_is_listed_twice_is_no_duplicate_of_itself(files):
    assert find_duplicates([files["c"], files["c"]]) == {}


def test_files_of_different_sizes_are_not_read(files, monkeypatch):
    monkeypatch.setattr(Path, "open", None)
    assert find_duplicates([files["a"], files["c"], files["g"]]) == {}


def test_files_that_cannot_be_read_are_like_no_other(files, tmp_path):
    folders = [tmp_path / "x", tmp_path / "y"]
    for folder in folders:
        folder.mkdir()
    missing = [tmp_path / "no", tmp_path / "none"]
    assert find_duplicates([*files.values(), *folders, *missing]) == find_duplicates(files.values())


def test_a_leak_is_named_with_its_number_and_a_pair(files):
    tested = [Sample(files["e"], "test", 1, "cut"), Sample(files["f"], "test")]
    used = [Sample(files["a"], "train"), Sample(files["b"], "calibration"), Sample(files["d"], "calibration")]
    with pytest.warns(UserWarning, match="same content") as caught:
        warn_of_leaks(tested + used, find_duplicates(files.values()))
    assert [str(warning.message).partition(", which")[0] for warning in caught] == [
        f"1 images of the split {split} have the same content as images of {known} (the first: {one} and {other})"
        for split, known, one, other in (
            ("calibration", "train", files["d"], files["a"]),
            ("test", "calibration", files["e"], files["b"]),
            ("test", "train", files["f"], files["a"]),
        )
    ]


def test_images_of_the_same_content_within_a_split_are_no_leak(files):
    samples = [Sample(files["a"], "train"), Sample(files["d"], "train"), Sample(files["b"], "test")]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_leaks([*samples, Sample(files["e"], "test")], find_duplicates(files.values()))


def test_links_to_the_same_file_are_duplicates(files, tmp_path):
    (tmp_path / "link").symlink_to(files["c"])
    shutil.copy(files["c"], tmp_path / "copy")
    same = find_duplicates([files["c"], tmp_path / "link", tmp_path / "copy"])
    assert set(same.values()) == {files["c"]}
    assert len(same) == 3


def test_groups_that_share_an_image_become_one():
    a, b, c, d, e, f = map(Path, "abcdef")
    found = united({a: b, c: d}, {b: e, d: d, f: f})
    assert len({found[path] for path in (a, b, e)}) == 1
    assert len({found[path] for path in (c, d)}) == 1
    assert len({found[path] for path in (a, c, f)}) == 3
