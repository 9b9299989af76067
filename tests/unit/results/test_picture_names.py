"""Names of pictures: one for each image, and none that is a folder of another one."""

from itertools import product
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given

from anomalib_flows.results.pictures import unique_names


@pytest.mark.parametrize(
    ("images", "pictures"),
    [
        (["x.jpg", "y.bmp"], ["x.png", "y.png"]),
        (["x.jpg", "x.png/y.jpg"], ["x.jpg.png", "x.png/y.png"]),
        (["X.jpg", "x.PNG/y.jpg"], ["X.jpg.png", "x.PNG/y.png"]),
        (["x.jpg", "x.png/y.jpg", "x.jpg.png/z.bmp"], ["x.jpg.png.png", "x.png/y.png", "x.jpg.png/z.png"]),
        (["a/x.jpg", "a/x.png/y.jpg", "x.jpg"], ["a/x.jpg.png", "a/x.png/y.png", "x.png"]),
        (["x.jpg", "x.png", "x.png.png/y.jpg"], ["x.jpg.png", "x.png.png.png", "x.png.png/y.png"]),
    ],
)
def test_a_picture_is_named_apart_from_folders(images: list[str], pictures: list[str]) -> None:
    assert [name.as_posix() for name in unique_names([Path(image) for image in images], ".png")] == pictures


PARTS = ["".join(name) for name in product("xX", [".jpg", ".png", ".png.png", ".jpg.png", ""])]


@given(st.lists(st.lists(st.sampled_from(PARTS), min_size=1, max_size=3), unique_by=tuple))
def test_all_pictures_can_be_written(images: list[list[str]]) -> None:
    given_paths = [Path(*parts) for parts in images]
    folders = {parent for path in given_paths for parent in path.parents}
    paths = [path for path in given_paths if path not in folders]  # as on a disk
    names = [str(name).casefold() for name in unique_names(paths, ".png")]
    if len({str(path).casefold() for path in (*paths, *folders)}) == len({*paths, *folders}):
        assert len({*names}) == len(names)
        assert not {*names} & {str(parent).casefold() for path in paths for parent in path.parents}
