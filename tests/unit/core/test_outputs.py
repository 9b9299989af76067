"""Places that cannot be written to are named before any work, with the argument that names them."""

import os
from pathlib import Path

import pytest

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.outputs import require_place


@pytest.fixture
def places(tmp_path: Path) -> Path:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "nowhere").symlink_to("missing")
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    (tmp_path / "link").symlink_to("folder")
    return tmp_path


@pytest.mark.parametrize("name", ["folder", "new", "new/inner", "link", "link/new", "n" * 255, "ä" * 127])
def test_folders_that_can_be_written_to(places: Path, name: str) -> None:
    require_place("output", places / name)
    (places / name).mkdir(parents=True, exist_ok=True)


@pytest.mark.parametrize("name", ["file", "new", "new/inner.html", "link/new", "n" * 255])
def test_files_that_can_be_written(places: Path, name: str) -> None:
    require_place("output", places / name, folder=False)


@pytest.mark.parametrize("folder", [True, False])
@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("file/inner", "file is a file"),
        ("nowhere", "nowhere is a link to missing, which leads nowhere"),
        ("nowhere/inner", "nowhere is a link to missing, which leads nowhere"),
        ("a", "a is a link to b, which leads nowhere"),
        ("a/inner", "a is a link to b, which leads nowhere"),
        ("n" * 256, "the name nnnnnnnnnnnnnnnnnnnn..., which is too long"),
        ("ä" * 128, "which is too long"),
        ("new/" + "n" * 256, "which is too long"),
        ("/".join(["n" * 200] * 30), "a path of more than 4000 bytes"),
    ],
)
def test_others_cannot(places: Path, name: str, fault: str, folder: bool) -> None:
    with pytest.raises(InputError, match=fault) as raised:
        require_place("output", places / name, folder=folder)
    assert raised.value.fields == ("output",)


def test_a_file_is_no_folder_and_a_folder_is_no_file(places: Path) -> None:
    with pytest.raises(InputError, match="is a file; name another one"):
        require_place("output", places / "file")
    with pytest.raises(InputError, match="is a folder"):
        require_place("output", places / "folder", folder=False)


@pytest.mark.parametrize("name", ["folder", "folder/new", "folder/new/inner"])
def test_folders_of_others_are_read_only(places: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    with pytest.raises(InputError, match="folder is read-only"):
        require_place("output", places / name)
