"""Locks on folders end with their holder, and tell leftovers of killed processes from the folders of living ones."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from anomalib_flows.core.files import TEMPORARY, atomic, remove_leftovers, remove_leftovers_once, temporary_folder
from anomalib_flows.core.locks import locked

WRITER = """
import sys, time
from pathlib import Path
from anomalib_flows.core.files import atomic
with atomic(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    print("writing", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def writer(tmp_path: Path):
    """Another process that is writing to ``tmp_path/table.csv``."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path / "table.csv")], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        yield process
        process.kill()


def test_what_a_killed_process_left_is_removed_by_the_next_write(tmp_path: Path, writer: subprocess.Popen[str]) -> None:
    (left,) = tmp_path.glob(f"{TEMPORARY}*")
    remove_leftovers(tmp_path)
    assert (left / "table.csv").read_text() == "half"  # it lives
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    with atomic(tmp_path / "other.csv") as temporary:
        temporary.touch()
    assert [path.name for path in tmp_path.iterdir()] == ["other.csv"]


def test_pictures_look_for_leftovers_once(tmp_path: Path) -> None:
    remove_leftovers_once.cache_clear()
    for number in range(2):
        left = tmp_path / f"{TEMPORARY}{number}"
        left.mkdir()
        with atomic(tmp_path / f"{number}.png", flush=False) as temporary:
            temporary.touch()
        assert left.exists() == (number > 0)


def test_threads_keep_their_folders_apart(tmp_path: Path) -> None:
    failed = []

    def write(number: int) -> None:
        for _ in range(20):
            with atomic(tmp_path / f"{number}.txt") as temporary:
                temporary.write_text(str(number))
                remove_leftovers(tmp_path)
                failed.extend([] if temporary.exists() else [number])

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{number}.txt" for number in range(8)]


def test_a_lock_is_held_once_and_moves_with_its_folder(tmp_path: Path) -> None:
    with temporary_folder(tmp_path) as folder:
        moved = folder.rename(tmp_path / "moved")
        with locked(moved) as held:
            assert held is False
    with locked(moved) as held:
        assert held


def test_waiting_for_a_folder_that_is_replaced_meanwhile_is_an_error(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    descriptor = os.open(folder, os.O_RDONLY)
    folder.rmdir()
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "open", lambda *_: descriptor)
        with pytest.raises(FileNotFoundError), locked(folder, wait=True):
            pass
