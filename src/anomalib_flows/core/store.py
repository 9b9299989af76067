"""Tensors on disk under names, to be computed once: whole, checked, of a limited size, and never necessary."""

from __future__ import annotations

import os
import shutil
import time
import warnings
import zlib
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, TypeAlias

from anomalib_flows.core.files import atomic

if TYPE_CHECKING:
    from torch import Tensor

GB = 10**9
SUFFIX = ".item"
RESERVE = GB
"""Bytes of the disk that are left to others."""
STALE = 10.0
"""Seconds after which it is looked up anew what others have added or removed."""

ELSEWHERE = "free space there, or let XDG_CACHE_HOME name another folder"

Tensors: TypeAlias = "dict[str, Tensor]"


def cache_folder(kind: str) -> Path:
    """Folder of one kind of cached tensors in the user's cache."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")  # noqa: PTH111, PTH118
    return Path(home) / "anomalib-flows" / kind


class Store:
    """Keep tensors by name, as files; several threads and processes may use a folder, and anybody may empty it.

    What is missing or damaged is not there; what does not fit or cannot be written is said once, and not kept.

    Args:
        folder: Where the files are.
        limit: Greatest number of bytes in the folder.
        option: The option that sets the limit.
        otherwise: What happens to what is not kept.
    """

    def __init__(self, folder: Path, limit: int, option: str, otherwise: str) -> None:
        self.folder, self.limit, self.option, self.otherwise = folder, limit, option, otherwise
        self.lock, self.told = Lock(), False
        self.used, self.counted = 0, -STALE

    def get(self, name: str) -> Tensors | None:
        """Return what is kept under a name, or None."""
        try:
            return unpack(self.file(name).read_bytes())
        except (OSError, ValueError):
            return None

    def put(self, name: str, tensors: Tensors) -> None:
        """Keep tensors, if there is room."""
        content = pack(tensors)
        try:
            if self._takes(len(content)):
                with atomic(self.file(name)) as temporary:
                    temporary.write_bytes(content)
        except FileNotFoundError:
            return  # somebody has emptied the folder in this very moment
        except OSError as error:
            self.limit = 0
            self._tell(f"{self.folder} cannot be written to ({error.strerror})", ELSEWHERE)

    def file(self, name: str) -> Path:
        """File of a name."""
        return self.folder / f"{name}{SUFFIX}"

    def _takes(self, size: int) -> bool:
        """Whether so many bytes more fit, which then count as taken."""
        if not self.limit:
            return False
        with self.lock:
            if time.monotonic() - self.counted > STALE:
                self.used, self.counted = used(self.folder), time.monotonic()
            within = self.used + size <= self.limit
            room = within and free(self.folder) - size >= RESERVE
            self.used += size if room else 0
        if not within:
            limit = f"{self.option} {self.limit / GB:g} (GB in {self.folder})"
            self._tell(f"{limit} is used up", "give more, or run 'anomalib-flows cache clear'")
        elif not room:
            self._tell(f"The disk of {self.folder} is nearly full", ELSEWHERE)
        return room

    def _tell(self, problem: str, advice: str) -> None:
        with self.lock:
            told, self.told = self.told, True
        if not told:
            warnings.warn(f"{problem}: {self.otherwise}; {advice}.", UserWarning, stacklevel=2)


def used(folder: Path) -> int:
    """Bytes of what is kept in a folder.

    Example:
        >>> used(Path("nowhere"))
        0
    """
    return sum(files(folder).values())


def files(folder: Path) -> dict[Path, int]:
    """Files of what is kept in a folder, which others may empty meanwhile, with their bytes."""
    found = {}
    for file in folder.glob(f"*{SUFFIX}") if folder.is_dir() else ():
        with suppress(FileNotFoundError):
            found[file] = file.stat().st_size
    return found


def clear(folder: Path) -> int:
    """Delete what is kept in a folder, and say how many files that were."""
    found = files(folder)
    for file in found:
        file.unlink(missing_ok=True)
    return len(found)


def free(folder: Path) -> int:
    """Bytes that are free on the disk where a folder is or will be."""
    there = next(parent for parent in (folder, *folder.parents) if parent.is_dir())
    return shutil.disk_usage(there).free


def pack(tensors: Tensors) -> bytes:
    """Write tensors as a checksum and safetensors.

    Example:
        >>> import torch
        >>> unpack(pack({"x": torch.ones(2)}))
        {'x': tensor([1., 1.])}
    """
    from safetensors.torch import save

    # Cloned, for tensors that share memory are not written.
    content: bytes = save({name: tensor.contiguous().clone() for name, tensor in tensors.items()})
    return zlib.crc32(content).to_bytes(4, "big") + content


def unpack(content: bytes) -> Tensors:
    """Read what :func:`pack` wrote.

    Raises:
        ValueError: If it is damaged.
    """
    if len(content) < 4 or zlib.crc32(memoryview(content)[4:]).to_bytes(4, "big") != content[:4]:
        raise ValueError("damaged")
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        tensors: Tensors = load(content[4:])
    except SafetensorError as error:
        raise ValueError("damaged") from error
    return tensors
