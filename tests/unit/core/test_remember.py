"""What was found out about files is remembered as long as they do not change."""

import os
import sqlite3
import time
from pathlib import Path

import pytest

from anomalib_flows.core import remember
from anomalib_flows.core.errors import InputError
from anomalib_flows.core.remember import database, remembered


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(remember, "RECENT", 0.0)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    for i in range(4):
        (tmp_path / f"{i}.txt").write_text(str(i))
    return [tmp_path / f"{i}.txt" for i in range(4)]


class Counting:
    def __init__(self) -> None:
        self.seen: list[str] = []

    def __call__(self, path: Path) -> list[str]:
        self.seen.append(path.name)
        text = path.read_text()
        if text == "bad":
            raise InputError(f"{path} is bad: replace it.")
        return [text, path.name]


def test_a_file_is_looked_at_once(files: list[Path]) -> None:
    work = Counting()
    expected = [[str(i), f"{i}.txt"] for i in range(4)]
    assert remembered("text", work, files, "") == remembered("text", work, files[::-1], "")[::-1] == expected
    assert sorted(work.seen) == [file.name for file in files]
    remembered("other", work, files, "")
    assert len(work.seen) == 8


@pytest.mark.parametrize("change", ["content", "content of the same size and time", "replaced"])
def test_a_file_that_changed_is_looked_at_again(files: list[Path], change: str) -> None:
    work, state = Counting(), files[0].stat()
    remembered("text", work, files, "")
    time.sleep(0.05)  # the clock of the file system
    if change == "replaced":
        (files[0].parent / "new").write_text("7")
        os.utime(files[0].parent / "new", ns=(state.st_atime_ns, state.st_mtime_ns))
        (files[0].parent / "new").rename(files[0])
    else:
        files[0].write_text("7" if "same" in change else "seven")
    if "time" in change:
        os.utime(files[0], ns=(state.st_atime_ns, state.st_mtime_ns))
    assert remembered("text", work, files, "")[0] == [files[0].read_text(), "0.txt"]
    assert len(work.seen) == 5


def test_a_file_that_has_just_changed_is_not_remembered(files: list[Path], monkeypatch) -> None:
    monkeypatch.setattr(remember, "RECENT", 60.0)
    work = Counting()
    for _ in range(2):
        remembered("text", work, files, "")
    assert len(work.seen) == 8


def test_faults_are_found_again(files: list[Path]) -> None:
    files[2].write_text("bad")
    work = Counting()
    for _ in range(2):
        found = remembered("text", work, files, "")
        assert [isinstance(one, InputError) for one in found] == [False, False, True, False]
    assert work.seen.count("2.txt") == 2
    assert len(work.seen) == 5


@pytest.mark.parametrize("damage", [b"", b"no database", b"SQLite format 3\0" + bytes(200)])
def test_a_damaged_database_is_replaced(files: list[Path], damage: bytes) -> None:
    work = Counting()
    expected = remembered("text", work, files, "")
    database().write_bytes(damage)
    assert remembered("text", work, files, "") == expected
    assert remembered("text", work, files, "") == expected
    assert len(work.seen) == 8


@pytest.mark.parametrize("damage", ["'no JSON'", "replace(value, '3', '4')", "substr(value, 1, 9)", "NULL", "7"])
def test_values_that_are_damaged_are_found_out_again(files: list[Path], damage: str) -> None:
    work = Counting()
    expected = remembered("text", work, files, "")
    with sqlite3.connect(database()) as connection:
        connection.execute(f"UPDATE facts SET value = {damage}")  # noqa: S608
    assert remembered("text", work, files, "") == expected


def test_without_a_place_to_write_everything_is_found_out_again(files: list[Path], tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    work = Counting()
    for _ in range(2):
        assert remembered("text", work, files, "")[3] == ["3", "3.txt"]
    assert len(work.seen) == 8


def test_facts_that_no_work_gives_are_computed_again(files: list[Path]) -> None:
    expected = remembered("text", Counting(), files, "")
    assert remembered("text", lambda _: "again", files, "", lambda value: value == expected[0]) == [
        expected[0],
        *["again"] * (len(files) - 1),
    ]
