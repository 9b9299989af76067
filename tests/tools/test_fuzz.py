"""The fuzzer finds what is wrong with a reader, and finds nothing in ours."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import fuzz
from anomalib_flows import InputError


def refuse(folder: Path) -> None:
    raise InputError("`x` is damaged: name another file.")


def two_lines(folder: Path) -> None:
    raise InputError("damaged\nvery much")


FAULTS: dict[str, Callable[[Path], object]] = {
    "KeyError": lambda folder: {}[(folder / "file").name],
    "more than one line": two_lines,
    "MemoryError": lambda folder: bytearray(3 * 2**30),
    "KeyboardInterrupt": lambda folder: time.sleep(60),
    "SystemExit": lambda folder: exit(3),
    "it ends the process": lambda folder: os._exit(3),
}


@pytest.mark.parametrize("problem", FAULTS)
def test_what_is_neither_read_nor_refused_is_a_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, problem: str
) -> None:
    monkeypatch.setattr(fuzz, "SECONDS", 1 if problem == "KeyboardInterrupt" else 20)
    (tmp_path / "whole").mkdir()
    (tmp_path / "whole/file").write_bytes(b"content 12")
    reader = fuzz.Reader(("file",), FAULTS[problem])
    count, findings = fuzz.fuzz(reader, tmp_path / "whole", 2.5, 0, tmp_path / "kept")
    assert count
    assert findings[0].problem.startswith(problem)
    kept = (tmp_path / f"kept/{findings[0].number}/file").read_bytes()
    fuzz.damage(reader, tmp_path / "whole", tmp_path / "whole", 0, findings[0].number)  # the same again
    assert kept == (tmp_path / "whole/file").read_bytes()


def test_what_is_refused_is_none(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "whole/file").write_bytes(b"content 12")
    count, findings = fuzz.fuzz(fuzz.Reader(("file",), refuse), tmp_path / "whole", 0.5, 0, tmp_path / "kept")
    assert count > 10
    assert not findings


@pytest.mark.filterwarnings("always")
def test_every_reader_reads_or_refuses_damaged_files(tmp_path: Path, monkeypatch, capfd) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", os.environ["XDG_CACHE_HOME"])  # the tool sets its own
    assert fuzz.main(["all", "--seconds", "1.5", "--findings", str(tmp_path / "found")]) == 0
    rows = re.findall(r"^(\w+) +(\d+) +0$", capfd.readouterr().out, re.MULTILINE)
    assert len(rows) >= 13
    assert all(int(count) > 3 for _, count in rows), rows
