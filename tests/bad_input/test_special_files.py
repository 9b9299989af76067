"""Pipes, sockets and devices are refused at once; control characters in names do not reach the terminal."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomalib_flows import InputError, Run
from anomalib_flows.cli import main
from anomalib_flows.cli.program import visible
from anomalib_flows.core.images import read_pixels, stored_size
from anomalib_flows.core.parsing import read_text
from anomalib_flows.core.store import digest_of
from anomalib_flows.data.identity import digests
from anomalib_flows.data.splits import read_splits
from anomalib_flows.data.tables import read_table

READERS: dict[str, Callable[[Path], Any]] = {
    "image": read_pixels,
    "header": stored_size,
    "digest": digest_of,
    "splits": read_splits,
    "table": lambda file: read_table(file, ["path"]),
    "text": lambda file: read_text(file, "The configuration"),
}


@pytest.fixture(params=["pipe", "socket", "device"])
def special(request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A file that is no regular one, from which reading would wait for ever."""
    path = tmp_path / "special.png"
    monkeypatch.chdir(tmp_path)  # addresses of sockets are short
    if request.param == "pipe":
        os.mkfifo(path)
    elif request.param == "device":
        path.symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as opened:
        if request.param == "socket":
            opened.bind(path.name)
        yield path, request.param


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_what_is_no_regular_file_is_refused_at_once(special: tuple[Path, str], read: Callable[[Path], Any]) -> None:
    path, kind = special
    with pytest.raises(InputError, match=f"^{path} is a {kind}: name a regular file.$"):
        read(path)


def test_it_has_no_digest_and_is_no_file_of_a_run(special: tuple[Path, str], tmp_path: Path) -> None:
    assert digests([special[0]]) == {}
    special[0].rename(tmp_path / "config.yaml")
    with pytest.raises(InputError, match="is not a run"):
        Run.open(tmp_path)


@given(st.text())
def test_visible_text_has_no_control_characters(text: str) -> None:
    shown = visible(text)
    assert all(letter in "\n\t" or ord(letter) >= 32 for letter in shown)
    assert not set(shown) & {"\x7f", "\x9b", "\u202e", "\u2066"}
    assert visible(shown) == shown


@pytest.mark.parametrize("name", ["\x1b[2J\x1b[31mred", "\rerror: none", "a\x9b31mb", "\u202etxt.exe", "\x07"])
@pytest.mark.parametrize("command", [["data", "check"], ["test"], ["train", "-c"], ["predict"], ["list"]])
def test_names_do_not_reach_the_terminal_as_they_are(capsys, tmp_path: Path, command: list[str], name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    (folder / "1.png").write_bytes(b"no image")
    main([*command, str(folder), *(["--input=x", "--output=y"] if command == ["predict"] else [])])
    said = "".join(capsys.readouterr())
    assert not set(said) & {"\x1b", "\x9b", "\r", "\u202e", "\x07"}
