"""Files that are either whole or not there."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, cast
from uuid import uuid4

from tqdm import tqdm

from anomalib_flows.core.errors import InputError


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Write a file under a temporary name in its own folder, and give it its name once it is whole.

    The folder is made if need be. The temporary name keeps the suffix, because many writers choose the format
    by it. When the block fails, nothing is left behind and a file that was there before stays as it was.

    Raises:
        OSError: If the folder cannot be written to or the disk is full.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "sub" / "notes.txt"
        >>> with atomic(file) as temporary:
        ...     _ = temporary.write_text("whole")
        >>> file.read_text()
        'whole'
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not tempfile: it makes files that other users may not read.
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
    """Fill a folder under a temporary name, and let it take the place of the one that was there.

    Args:
        path: The folder.
        replace: Whether one that is there by then may go.

    When the block fails, nothing is left behind and the former folder stays as it was.

    Raises:
        OSError: If the folder cannot be written to or the disk is full.
        InputError: If it is there and may not be replaced.
    """
    with temporary_folder(path.parent) as temporary:
        yield temporary
        if replace:
            shutil.rmtree(path, ignore_errors=True)
        elif path.exists():
            raise InputError(f"{path} was made by somebody else meanwhile and stays: name another folder.")
        temporary.replace(path)


@contextmanager
def temporary_folder(parent: Path) -> Iterator[Path]:
    """Work in a hidden folder within ``parent``, which goes when the block ends; so do parents made for nothing.

    Raises:
        OSError: If it cannot be made.
    """
    made = [folder for folder in (parent, *parent.parents) if not folder.exists()]
    temporary = parent / f".tmp-{uuid4().hex}"
    try:
        temporary.mkdir(parents=True)
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        for folder in made:
            with suppress(OSError):  # not empty: something was made in it
                folder.rmdir()


@contextmanager
def read_with_bar(path: Path, what: str) -> Iterator[IO[bytes]]:
    """Open a large file, and show how far it is read.

    Args:
        path: The file.
        what: What is done with it, for the bar of progress.
    """
    size, what = path.stat().st_size, f"{what} {path.name}"
    with (
        path.open("rb") as raw,
        tqdm.wrapattr(raw, "read", size, desc=what, leave=False, delay=1, disable=None) as stream,
    ):
        yield cast("IO[bytes]", stream)
