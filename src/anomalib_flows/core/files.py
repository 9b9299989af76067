"""Write files and folders as a whole or not at all, and work on many files at once."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TypeVar, cast
from uuid import uuid4

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.timing import cores


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Write a file under a temporary name in its own folder, and rename it once it is complete.

    A missing folder is made. The temporary name has the same suffix, by which many writers choose the format. When
    the block fails, no new file is left, and an existing one remains unchanged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not tempfile: other users may not read its files.
    temporary = path.with_name(f".tmp-{uuid4().hex}{path.suffix}")
    try:
        temporary.touch()
        mode = temporary.stat().st_mode
        yield temporary
        temporary.chmod(mode)  # some libraries write files that nobody else may read
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def fresh_folder(path: Path, *, replace: bool = True) -> Iterator[Path]:
    """Fill a folder under a temporary name, and rename it once it is complete.

    When the block fails, no new folder is left, and an existing one remains unchanged. One that exists at the end of
    the block is replaced, or raises an InputError if ``replace`` is False.
    """
    with temporary_folder(path.parent) as temporary:
        yield temporary
        if replace:
            shutil.rmtree(path, ignore_errors=True)
        elif path.exists():
            raise InputError(f"{path} was made by another process meanwhile and is kept: name another folder.")
        temporary.replace(path)


@contextmanager
def temporary_folder(parent: Path) -> Iterator[Path]:
    """Make a hidden folder within ``parent`` for the block; afterwards remove it, and new parents that are empty."""
    made = [folder for folder in (parent, *parent.parents) if not folder.exists()]
    temporary = parent / f".tmp-{uuid4().hex}"
    try:
        temporary.mkdir(parents=True)
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        for folder in made:
            with suppress(OSError):  # it is not empty
                folder.rmdir()


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
