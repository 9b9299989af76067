from collections.abc import Callable
from pathlib import Path

import pytest

from anomalib_flows.core.finding import image_files

Touch = Callable[[str], Path]


@pytest.fixture
def touch(tmp_path: Path) -> Touch:
    """Make an empty file."""

    def make(name: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        return path

    return make


def test_files_are_listed_in_natural_order_without_hidden_ones(touch: Touch, tmp_path: Path) -> None:
    for name in ("10.png", "2.PNG", "b/1.jpeg", "a.Tif", ".hidden.png", ".cache/3.png", "b/.x/4.png", "notes.txt"):
        touch(name)
    (tmp_path / "folder.png").mkdir()
    names = [path.relative_to(tmp_path).as_posix() for path in image_files(tmp_path, recursive=True)]
    assert names == ["2.PNG", "10.png", "a.Tif", "b/1.jpeg"]
    assert [path.name for path in image_files(tmp_path)] == ["2.PNG", "10.png", "a.Tif"]


def test_linked_folders_are_entered_once(touch: Touch, tmp_path: Path) -> None:
    touch("photos/cut/1.png")
    touch("elsewhere/2.png")
    (tmp_path / "photos/linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/back").symlink_to(tmp_path / "photos")
    (tmp_path / "photos/cut/self").symlink_to(tmp_path / "photos/cut")
    names = [path.relative_to(tmp_path).as_posix() for path in image_files(tmp_path / "photos", recursive=True)]
    assert names == ["photos/cut/1.png", "photos/linked/2.png"]


def test_a_hidden_folder_may_be_the_one_asked_for(touch: Touch, tmp_path: Path) -> None:
    assert image_files(tmp_path / ".photos") == []
    assert image_files(touch(".photos/1.png").parent) == [tmp_path / ".photos/1.png"]
