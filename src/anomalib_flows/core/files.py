"""Write files and folders as a whole or not at all, and work on many files at once."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import IO, TypeVar, cast
from uuid import uuid4

from anomalib_flows.core.errors import NO_SPACE, InputError
from anomalib_flows.core.locks import locked
from anomalib_flows.core.timing import cores

TEMPORARY = ".tmp-"
"""Beginning of the names of temporary folders."""


@contextmanager
def atomic(path: Path, *, flush: bool = True) -> Iterator[Path]:
    """Write a file under its name in a temporary folder beside it, and move it to its place once it is complete.

    Missing folders are made. When the block fails, no new file is left, and an existing one remains unchanged.

    Args:
        path: The file.
        flush: Whether the file survives a loss of power from the end of the block on. Without it, the file may be
            empty or old then; with it, writing takes some milliseconds longer.
    """
    with temporary_folder(path.parent, tidy=flush) as folder, naming(path, folder, path.parent):
        temporary = folder / path.name
        temporary.touch()
        mode = temporary.stat().st_mode
        yield temporary
        temporary.chmod(mode)  # some libraries write files that nobody else may read
        if flush:
            flush_file(temporary)
        temporary.replace(path)
        if flush:
            flush_folder(path.parent)


@contextmanager
def fresh_folder(path: Path) -> Iterator[Path]:
    """Fill a folder under a temporary name, and rename it once it is complete.

    When the block fails, no new folder is left.

    Raises:
        InputError: If there is something with its name at the end of the block, except for an empty folder.
    """
    with temporary_folder(path.parent) as temporary, naming(path, temporary, path):
        yield temporary
        flush_tree(temporary)
        place(temporary, path)


def place(folder: Path, path: Path) -> None:
    """Rename a folder, or raise an InputError if there is something with the new name, except for an empty folder."""
    try:
        if os.name == "nt" and path.is_dir():
            path.rmdir()  # elsewhere renaming replaces it
        folder.rename(path)
    except OSError as error:
        if not os.path.lexists(path):
            raise
        raise InputError(f"{path} was made by another process meanwhile and is kept: name another folder.") from error
    flush_folder(path.parent)


@contextmanager
def temporary_folder(parent: Path, *, tidy: bool = True) -> Iterator[Path]:
    """Make a hidden folder within ``parent`` for the block; afterwards remove it, and new parents that are empty.

    It is locked, by which those of killed processes are known: they are removed first. Without ``tidy`` only the first
    call of a process for a parent does so, since listing many files takes longer than writing one.
    """
    made = [folder for folder in (parent, *parent.parents) if not folder.exists()]
    (remove_leftovers if tidy else remove_leftovers_once)(parent)
    with ExitStack() as locks:
        temporary = _made_and_locked(parent, locks)
        try:
            yield temporary
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
            for folder in made:
                with suppress(OSError):  # it is not empty
                    folder.rmdir()


def _made_and_locked(parent: Path, locks: ExitStack) -> Path:
    """Make a temporary folder and lock it. Until then another process may take it for a leftover, and remove it."""
    for _ in range(10):
        temporary = parent / f"{TEMPORARY}{uuid4().hex}"
        with naming(parent, temporary, parent):
            temporary.mkdir(parents=True)
        with suppress(FileNotFoundError):
            if locks.enter_context(locked(temporary)) is not False:
                break
    return temporary


def remove_leftovers(parent: Path) -> None:
    """Remove the temporary folders of killed processes from a folder; where there are no locks, none is removed."""
    for left in parent.glob(f"{TEMPORARY}*"):
        with suppress(OSError), locked(left) as held:
            if held:
                shutil.rmtree(left, ignore_errors=True)


remove_leftovers_once = cache(remove_leftovers)


@contextmanager
def naming(path: Path, temporary: Path | None = None, place: Path | None = None) -> Iterator[None]:
    """Let errors of a full disk that name no file name this one, and others what is to be in place of a temporary one.

    Args:
        path: The file.
        temporary: Temporary folder.
        place: Folder that its content is moved to.
    """
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno in NO_SPACE:
            error.filename = str(path)
        elif temporary and place and isinstance(error.filename, str | Path):
            named = Path(error.filename)
            if named.is_relative_to(temporary):
                error.filename, error.filename2 = str(place / named.relative_to(temporary)), None
        raise


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Raise the system's error where a library fails to write into a temporary folder, and hides that error."""
    try:
        yield
    except OSError:
        raise
    except Exception:
        for file in [*folder.glob("*.*"), folder / "more"]:
            with file.open("ab") as stream:
                stream.write(bytes(2**16))
        raise


def flush_file(file: Path) -> None:
    """Wait until the content of a file is on the disk."""
    descriptor = os.open(file, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flush_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk, where the system can do that; Windows cannot."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # the file system has no such thing
            raise
    finally:
        os.close(descriptor)


def flush_tree(folder: Path) -> None:
    """Wait until all files and folders below a folder are on the disk; in threads, which takes a tenth of the time."""
    found = [(Path(parent), names) for parent, _, names in os.walk(folder)]
    files = [parent / name for parent, names in found for name in names]
    map_in_threads(flush_file, files, "writing to the disk")
    for parent, _ in reversed(found):
        flush_folder(parent)


@contextmanager
def open_with_progress(path: Path, title: str) -> Iterator[IO[bytes]]:
    """Open a large file for reading, with a progress bar that shows a title and the file's name."""
    from tqdm import tqdm  # the runtime's command, which writes files as well, has none

    size, title = path.stat().st_size, f"{title} {path.name}"
    with (
        path.open("rb") as raw,
        tqdm.wrapattr(raw, "read", size, desc=title, leave=False, delay=1, disable=None) as stream,
    ):
        yield cast("IO[bytes]", stream)


T = TypeVar("T")
R = TypeVar("R")


def map_in_threads(work: Callable[[T], R], items: Sequence[T], title: str) -> list[R]:
    """Apply a function to each item in threads, and return the results in order; its first error ends the work.

    A progress bar with the title appears after two seconds.
    """
    from tqdm.contrib.concurrent import thread_map

    return thread_map(work, items, max_workers=default_threads(), desc=title, leave=False, delay=2, disable=None)


def default_threads() -> int:
    """Return the number of cores that this process may use, at most 8."""
    return min(8, cores())
