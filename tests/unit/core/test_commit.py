"""Files that belong together are old or new, all of them, whenever the process or the power ends."""

import gc
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from anomalib_flows.core.commit import READY, complete, together
from anomalib_flows.core.errors import InputError
from anomalib_flows.core.files import TEMPORARY, atomic, fresh_folder, remove_leftovers
from power_loss import forgetful

OLD = {"config.yaml": "old options", "model.bin": "old weights", "images/1.jpg": "old 1", "images/2.jpg": "old 2"}
OLD |= {"prediction.json": "of another command"}
NEW = {"config.yaml": "new options", "model.bin": "new weights", "images/2.jpg": "new 2", "metrics.json": "new"}
OTHER = {"notes.txt": "mine"}


def fill(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def files_of(folder: Path) -> dict[str, str]:
    return {str(file.relative_to(folder)): file.read_text() for file in folder.rglob("*") if file.is_file()}


def replace_all(folder: Path) -> None:
    with together(folder) as temporary:
        fill(temporary, NEW)
        (temporary / "prediction.json").mkdir()  # removed


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "run"
    fill(path, OLD | OTHER)
    return path


def test_all_files_are_replaced_and_others_remain(folder: Path) -> None:
    replace_all(folder)
    assert files_of(folder) == NEW | OTHER
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


def test_an_error_leaves_all_as_it_was(folder: Path) -> None:
    def fail() -> None:
        with together(folder) as temporary:
            fill(temporary, NEW)
            raise OSError(28, "No space left on device", str(temporary / "config.yaml"))

    with pytest.raises(OSError, match="No space left") as raised:
        fail()
    assert raised.value.filename == str(folder / "config.yaml")
    assert files_of(folder) == OLD | OTHER


def test_a_folder_in_the_place_of_a_file_is_an_error_before_anything_is_replaced(folder: Path) -> None:
    (folder / "metrics.json").mkdir()
    with pytest.raises(IsADirectoryError, match="metrics.json"):
        replace_all(folder)
    assert files_of(folder) == OLD | OTHER


STEPS = ("mkdir", "rename", "replace", "rmdir", "unlink", "fsync")


def killed_at(step: int, work: Callable[[], None]) -> bool:
    """Do work in a process that is killed before a step; return whether there was such a step."""
    if child := os.fork():
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status) or status == 0
        return os.WIFSIGNALED(status)
    gc.disable()  # or models of OpenVINO that other tests have left would wait for their threads, which are not here
    try:
        left = [step]

        def counted(function):
            def call(*arguments, **named):
                left[0] -= 1
                if left[0] < 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return function(*arguments, **named)

            return call

        for name in STEPS:
            setattr(os, name, counted(getattr(os, name)))
        work()
    except BaseException:
        os._exit(1)
    os._exit(0)


@pytest.mark.parametrize("step", range(38))
def test_killed_at_each_step_all_files_are_old_or_new(folder: Path, step: int) -> None:
    killed = killed_at(step, lambda: replace_all(folder))
    decided = (folder / READY).exists()
    complete(folder)
    remove_leftovers(folder)
    expected = [NEW | OTHER] if decided or not killed else [OLD | OTHER, NEW | OTHER]
    assert files_of(folder) in expected
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]
    replace_all(folder)
    assert files_of(folder) == NEW | OTHER


@pytest.mark.parametrize("step", range(8))
def test_killed_again_while_the_rest_is_done(folder: Path, step: int) -> None:
    assert killed_at(16, lambda: replace_all(folder))
    killed_at(step, lambda: complete(folder))
    complete(folder)
    assert files_of(folder) == NEW | OTHER


def test_the_steps_above_are_all(folder: Path) -> None:
    assert killed_at(25, lambda: replace_all(folder))
    fill(folder, OLD)
    assert not killed_at(37, lambda: replace_all(folder))


def test_two_writers_leave_the_files_of_one(folder: Path) -> None:
    def write(number: int) -> None:
        for _ in range(10):
            with together(folder) as temporary:
                fill(temporary, {"config.yaml": str(number), "images/1.jpg": str(number), "model.bin": str(number)})

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = files_of(folder)
    assert found["config.yaml"] == found["images/1.jpg"] == found["model.bin"]


def test_power_loss_leaves_all_files_old_or_new(folder: Path, tmp_path: Path) -> None:
    with forgetful(folder) as disk:
        replace_all(folder)
    seen = []
    for state in disk.after_power_loss(tmp_path / "after"):
        complete(state)
        remove_leftovers(state)
        seen.append(files_of(state))
    assert all(found in (OLD | OTHER, NEW | OTHER) for found in seen)
    assert OLD | OTHER in seen
    assert seen[-1] == NEW | OTHER


def test_power_loss_leaves_a_file_old_or_new(folder: Path, tmp_path: Path) -> None:
    with forgetful(folder) as disk, atomic(folder / "config.yaml") as temporary:
        temporary.write_text("new options")
    seen = [(state / "config.yaml").read_text() for state in disk.after_power_loss(tmp_path / "after")]
    assert set(seen) == {"old options", "new options"}
    assert seen[-1] == "new options"


def test_the_model_of_a_disk_forgets_what_is_not_flushed(folder: Path, tmp_path: Path) -> None:
    with forgetful(folder) as disk, atomic(folder / "config.yaml", flush=False) as temporary:
        temporary.write_text("new options")
    seen = {(state / "config.yaml").read_text() for state in disk.after_power_loss(tmp_path / "after")}
    assert seen == {"old options", "", "new o", "new options"}


@pytest.mark.parametrize("place", ["export", "new/export", "new/inner/export"])
def test_power_loss_leaves_a_new_folder_whole_or_absent(tmp_path: Path, place: str) -> None:
    parent = tmp_path / "parent"
    parent.mkdir()
    with forgetful(parent) as disk, fresh_folder(parent / place) as temporary:
        fill(temporary, NEW)
    states = map(files_of, disk.after_power_loss(tmp_path / "after"))
    seen = [{name: text for name, text in state.items() if TEMPORARY not in name} for state in states]
    new = {f"{place}/{name}": text for name, text in NEW.items()}
    assert all(found in ({}, new) for found in seen)
    assert seen[-1] == new
    trees, *_ = disk.states[-1]
    assert len(trees) == 1, "nothing is left that a loss of power could undo"


def test_what_a_link_leads_to_is_not_moved(folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    fill(elsewhere, NEW)
    (folder / READY).symlink_to(elsewhere)
    complete(folder)
    assert files_of(elsewhere) == NEW
    assert {name for name in files_of(folder) if not name.startswith(".")} == {*OLD, *OTHER}


def test_a_folder_that_never_becomes_free_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(folder / READY, NEW)

    def lost(*_: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr("anomalib_flows.core.commit._move", lost)
    with pytest.raises(InputError, match="move its content"):
        complete(folder)
