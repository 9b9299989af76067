"""Locks on folders: they end with the process that holds them, even if it is killed."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

if sys.platform != "win32":
    import fcntl


@contextmanager
def locked(folder: Path, *, wait: bool = False) -> Iterator[bool | None]:
    """Lock a folder for the block, unless another process, or another block of this one, holds it.

    The lock stays with the folder when it is renamed.

    Args:
        folder: The folder.
        wait: Whether to wait until the other one lets go.

    Yields:
        Whether the block holds the lock; None where the system or the disk has none, as on Windows.

    Raises:
        FileNotFoundError: If the folder does not exist, or was removed while this waited.
    """
    if sys.platform == "win32":
        yield None
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        yield _lock(descriptor, folder, wait)
    finally:
        os.close(descriptor)


def _lock(descriptor: int, folder: Path, wait: bool) -> bool | None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:
        return None
    if not os.path.samestat(os.fstat(descriptor), folder.stat()):  # another folder has its name now
        raise FileNotFoundError(folder)
    return True
