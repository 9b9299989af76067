"""Replace several files of a folder that belong together: all of them or none, also if the process is killed."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from anomalib_flows.core.files import flush_folder, flush_tree, naming, temporary_folder
from anomalib_flows.core.locks import locked

READY = ".commit"
"""Folder of files that are complete, and not yet all at their places."""


@contextmanager
def together(folder: Path) -> Iterator[Path]:
    """Replace files and folders of ``folder`` at once.

    The block writes them, under their names, to the folder that it is given; an empty folder there means that what has
    its name is removed. Afterwards that folder is renamed, which decides, and then its content is moved to its places.
    A process that is killed before this moment leaves everything as it was; after it, :func:`complete` does the rest.
    """
    with temporary_folder(folder) as temporary, naming(folder, temporary, folder):
        yield temporary
        require_places(temporary, folder)
        flush_tree(temporary)
        while True:
            complete(folder)
            with suppress(FileExistsError):
                return _decide(temporary, folder)


def require_places(made: Path, folder: Path) -> None:
    """Raise an IsADirectoryError if a folder is where a file is to be."""
    for entry in made.iterdir():
        if entry.suffix and (target := folder / entry.name).is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))


def _decide(temporary: Path, folder: Path) -> None:
    """Rename a complete folder, and move its content; raise a FileExistsError if another process was faster."""
    try:
        temporary.rename(folder / READY)
    except OSError as error:
        if error.errno == errno.ENOTEMPTY:
            raise FileExistsError from error
        raise
    flush_folder(folder)
    _move(folder / READY, folder)


def complete(folder: Path) -> None:
    """Move files to their places that a killed process has left, or wait until a living one has done so."""
    while (folder / READY).is_dir():
        with suppress(FileNotFoundError), locked(folder / READY, wait=True):
            _move(folder / READY, folder)


def _move(ready: Path, folder: Path) -> None:
    """Move the content of a folder to its places. Each step may be the last of a process, and another one goes on."""
    for entry in sorted(ready.iterdir()):
        target = folder / entry.name
        if not entry.is_dir():
            entry.replace(target)
            continue
        filled = any(entry.iterdir())
        remove(target)
        if filled:
            entry.rename(target)
        else:
            entry.rmdir()
    flush_folder(folder)
    ready.rmdir()
    flush_folder(folder)


def remove(path: Path) -> None:
    """Remove a file, or a folder with its content, if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
