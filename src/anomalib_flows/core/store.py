"""Keep computed tensors on disk under names: complete, checked, and limited in size."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
import warnings
import zlib
from contextlib import suppress
from functools import cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, TypeAlias

from anomalib_flows.core.files import TEMPORARY, atomic, remove_leftovers
from anomalib_flows.core.parsing import require_regular

if TYPE_CHECKING:
    from torch import Tensor

GB = 10**9
SUFFIX = ".item"
RESERVE = GB
"""Bytes of the disk that stay free."""
STALE = 10.0
"""Seconds after which the folder is measured again, since other processes write to it."""

ELSEWHERE = "free some space there, or name another folder by XDG_CACHE_HOME"

Tensors: TypeAlias = "dict[str, Tensor]"


def cache_folder(kind: str) -> Path:
    """Return the folder of one kind of files in the user's cache."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")  # noqa: PTH111, PTH118
    return Path(home) / "anomalib-flows" / kind


class Store:
    """Keep tensors as files by name. Threads and processes may share a folder, and anybody may clear it.

    A file that is missing or damaged is treated as not kept. Tensors that do not fit or cannot be written are not
    kept, with one warning.

    Args:
        folder: Folder of the files.
        limit: Size limit of the folder in bytes.
        field: Name of the field that sets the limit, for the warning.
        otherwise: What happens to tensors that are not kept, for the warning.
    """

    def __init__(self, folder: Path, limit: int, field: str, otherwise: str) -> None:
        self.folder, self.limit, self.field, self.otherwise = folder, limit, field, otherwise
        self.lock, self.warned = Lock(), False
        self.used, self.measured = 0, -STALE

    def get(self, name: str) -> Tensors | None:
        """Return the tensors of a name, or None if there are none."""
        try:
            return unpack(self.file(name).read_bytes())
        except (OSError, ValueError):
            return None

    def put(self, name: str, tensors: Tensors) -> None:
        """Keep tensors, if there is room."""
        content = pack(tensors)
        try:
            if self._reserve(len(content)):
                with atomic(self.file(name), flush=False) as temporary:
                    temporary.write_bytes(content)
        except FileNotFoundError:
            return  # the folder was cleared at this moment
        except OSError as error:
            self.limit = 0
            self._warn(f"{self.folder} cannot be written to ({error.strerror})", ELSEWHERE)

    def file(self, name: str) -> Path:
        """Return the file of a name."""
        return self.folder / f"{name}{SUFFIX}"

    def _reserve(self, size: int) -> bool:
        """Return whether ``size`` more bytes fit, and count them as used if they do."""
        if not self.limit:
            return False
        with self.lock:
            if time.monotonic() - self.measured > STALE:
                self.used, self.measured = sum(files(self.folder).values()), time.monotonic()
            within = self.used + size <= self.limit
            room = within and free(self.folder) - size >= RESERVE
            self.used += size if room else 0
        if not within:
            limit = f"`{self.field}` {self.limit / GB:g} (GB in {self.folder})"
            self._warn(f"{limit} is used up", "increase it, or clear the cache")
        elif not room:
            self._warn(f"The disk of {self.folder} is nearly full", ELSEWHERE)
        return room

    def _warn(self, problem: str, advice: str) -> None:
        with self.lock:
            warned, self.warned = self.warned, True
        if not warned:
            warnings.warn(f"{problem}: {self.otherwise}; {advice}.", UserWarning, stacklevel=2)


def digest_of(file: Path) -> str:
    """Return the SHA-256 of a file; it is read once as long as it does not change."""
    state = file.stat()
    return _digest(file, state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino)


@cache
def _digest(file: Path, *state: int) -> str:
    del state  # part of the key only
    require_regular(file)
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def files(folder: Path, pattern: str = f"*{SUFFIX}") -> dict[Path, int]:
    """Return the files that are kept in a folder with their sizes in bytes; others may clear it meanwhile."""
    found = {}
    for file in folder.glob(pattern) if folder.is_dir() else ():
        with suppress(FileNotFoundError):
            found[file] = file.stat().st_size
    return found


def clear(folder: Path, pattern: str = f"*{SUFFIX}") -> int:
    """Delete the files that are kept in a folder, and what killed processes left there; return the number of files.

    Files that a living process is writing stay.
    """
    remove_leftovers(folder)
    found = [file for file in files(folder, pattern) if not in_temporary(file.relative_to(folder))]
    for file in found:
        file.unlink(missing_ok=True)
    above = {parent for file in found for parent in file.parents if folder in parent.parents}
    for parent in sorted(above, reverse=True):
        with suppress(OSError):  # it has other files
            parent.rmdir()
    return len(found)


def in_temporary(file: Path) -> bool:
    """Return whether a relative path leads through a temporary folder."""
    return any(part.startswith(TEMPORARY) for part in file.parts[:-1])


def free(folder: Path) -> int:
    """Return the number of free bytes on the disk of a folder, which may not exist yet."""
    existing = next(parent for parent in (folder, *folder.parents) if parent.is_dir())
    return shutil.disk_usage(existing).free


def pack(tensors: Tensors) -> bytes:
    """Serialize tensors: a checksum, then safetensors."""
    from safetensors.torch import save

    # Cloned, since tensors that share memory cannot be written.
    content: bytes = save({name: tensor.contiguous().clone() for name, tensor in tensors.items()})
    return zlib.crc32(content).to_bytes(4, "big") + content


def unpack(content: bytes) -> Tensors:
    """Deserialize the result of :func:`pack`, or raise a ValueError if it is damaged."""
    if len(content) < 4 or zlib.crc32(memoryview(content)[4:]).to_bytes(4, "big") != content[:4]:
        raise ValueError("damaged")
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        tensors: Tensors = load(content[4:])
    except (SafetensorError, KeyError) as error:  # of a type that only a later version knows
        raise ValueError("damaged") from error
    return tensors
