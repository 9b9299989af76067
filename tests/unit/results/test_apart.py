"""Photos that are put apart: nothing is overwritten, none is lost, and what was done is not done again."""

import errno
import os
from pathlib import Path
from typing import get_args

import pytest

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.types import Apart
from anomalib_flows.results.apart import set_apart
from anomalib_flows.results.table import csv_line

NAMES = ("1.png", "sub/1.png", "=1+1.png", "bad\udcff.png", "new\nline.png", "stays.png")
WAYS = pytest.mark.parametrize("how", get_args(Apart))


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A table of photos, of which all but the last are to be put apart."""
    monkeypatch.chdir(tmp_path)
    lines = [csv_line(("path", "set_apart"))]
    for name in NAMES:
        photo = Path("photos", name)
        photo.parent.mkdir(parents=True, exist_ok=True)
        photo.write_bytes(os.fsencode(name) * 1000)
        os.utime(photo, (1e9, 1e9))
        lines.append(csv_line((photo, "" if name == "stays.png" else Path("out/anomalous", name))))
    table = tmp_path / "predictions.csv"
    table.write_bytes(b"".join(lines))
    return table


def contents(folder: str) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in Path(folder).rglob("*") if file.is_file()}


ALL = {name: os.fsencode(name) * 1000 for name in NAMES}
APART = {name: content for name, content in ALL.items() if name != "stays.png"}


@WAYS
def test_photos_are_put_apart_once(table: Path, how: Apart) -> None:
    for _ in range(2):
        set_apart(table, how)
        assert contents("out/anomalous") == APART
        assert contents("photos") == ({"stays.png": ALL["stays.png"]} if how == "move" else ALL)
    links = [file.is_symlink() for file in Path("out").rglob("*.png")]
    assert set(links) == {how == "link"}
    assert {file.stat().st_mtime for file in Path("out").rglob("*.png")} == {1e9}


@WAYS
def test_another_file_is_not_overwritten(table: Path, how: Apart) -> None:
    place = Path("out/anomalous/sub/1.png")
    place.parent.mkdir(parents=True)
    place.write_bytes(b"another")
    with pytest.raises(InputError, match=r"out/anomalous/sub/1.png is another file than the photo that belongs there"):
        set_apart(table, how)
    assert place.read_bytes() == b"another"
    assert contents("photos") | {k: v for k, v in contents("out/anomalous").items() if k != "sub/1.png"} == ALL
    place.unlink()
    set_apart(table, how)
    assert contents("out/anomalous") == APART


def other_disk(*_: object) -> None:
    raise OSError(errno.EXDEV, "Invalid cross-device link")


def test_a_photo_on_another_disk_is_copied_first(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever call ends the process, the photo is whole at one place or at both."""
    monkeypatch.setattr(Path, "rename", other_disk)
    steps, unlink = 0, Path.unlink

    def stop(path: Path, **options: bool) -> None:
        nonlocal steps
        if path.is_relative_to("photos"):
            steps += 1
            raise KeyboardInterrupt
        unlink(path, **options)

    for _ in range(3):
        with monkeypatch.context() as stopping:
            stopping.setattr(Path, "unlink", stop)
            with pytest.raises(KeyboardInterrupt):
                set_apart(table, "move")
        assert contents("photos") == ALL
    assert steps == 3
    set_apart(table, "move")
    assert contents("out/anomalous") == APART
    assert contents("photos") == {"stays.png": ALL["stays.png"]}


def test_a_full_disk_leaves_the_photo(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: object, temporary: Path) -> None:
        temporary.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "rename", other_disk)
    monkeypatch.setattr("anomalib_flows.results.apart.shutil.copy2", full)
    for how in ("copy", "move"):
        with pytest.raises(OSError, match="No space"):
            set_apart(table, how)
        assert contents("photos") == ALL
        assert not contents("out")


def test_a_link_is_moved_as_the_photo_it_leads_to(table: Path) -> None:
    original, link = Path("original.png"), Path("photos/sub/1.png")
    original.write_bytes(ALL["sub/1.png"])
    link.unlink()
    link.symlink_to("../../original.png")
    set_apart(table, "move")
    assert contents("out/anomalous") == APART
    assert not link.is_symlink()
    assert original.read_bytes() == ALL["sub/1.png"]


@WAYS
def test_photos_that_have_vanished_are_counted(table: Path, how: Apart) -> None:
    Path("photos/1.png").unlink()
    with pytest.warns(UserWarning, match=r"1 photos to set apart are no longer there, such as photos/1.png"):
        set_apart(table, how)
    assert contents("out/anomalous") == {name: content for name, content in APART.items() if name != "1.png"}


def test_two_names_of_a_file_lose_nothing(table: Path) -> None:
    place = Path("out/anomalous/1.png")
    place.parent.mkdir(parents=True)
    place.hardlink_to("photos/1.png")
    set_apart(table, "move")
    assert contents("out/anomalous") == APART
