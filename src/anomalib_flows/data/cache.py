"""Images that were decoded and resized before, in memory or on disk, as exactly as they were computed.

What is kept is the resized image in float32, unrounded, so that a run with a cache equals one without bit for bit.
"""

from __future__ import annotations

import hashlib
import os
import warnings
import zlib
from pathlib import Path
from threading import Lock
from typing import NamedTuple, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from anomalib_flows.data.base import Dataset
from anomalib_flows.data.reading import mask_files
from anomalib_flows.files import atomic
from anomalib_flows.types import ImageSize, Sample

VERSION = "1"
"""Part of every name on disk: to be raised when the values of a resized image change."""
GB = 10**9


class Item(NamedTuple):
    """An image (3, H, W), its boolean mask (H, W) if there is one, and the size of its own pixels."""

    image: Tensor
    mask: Tensor | None
    content: ImageSize

    @property
    def size(self) -> int:
        """Bytes of image and mask."""
        return self.image.nbytes + (0 if self.mask is None else self.mask.nbytes)


class Cache(Protocol):
    """What keeps items of samples; used by several threads at once."""

    def get(self, sample: Sample) -> Item | None:
        """Return the item of a sample, or None if it has to be read."""

    def put(self, sample: Sample, item: Item) -> None:
        """Keep an item, if there is room."""


def make_cache(samples: list[Sample], options: Dataset, *, repeated: bool) -> Cache | None:
    """Make the cache that a dataset's options ask for; images that are read only once need no memory.

    Args:
        samples: What will be read.
        options: Kind and size of the cache, and size of the images.
        repeated: Whether the images are read more than once.
    """
    limit = int(options.cache_size * GB)
    if options.cache == "memory" and repeated:
        return MemoryCache(limit, len(samples))
    if options.cache == "disk":
        return DiskCache(default_folder(), limit, options)
    return None


class MemoryCache:
    """Keep items as long as the process lives.

    Args:
        limit: Greatest number of bytes.
        expected: How many samples there are.
    """

    def __init__(self, limit: int, expected: int) -> None:
        self.limit, self.expected, self.items, self.lock = limit, expected, dict[Sample, Item](), Lock()
        self.used, self.full = 0, False

    def get(self, sample: Sample) -> Item | None:
        """Return the item of a sample, or None if it has to be read."""
        return self.items.get(sample)

    def put(self, sample: Sample, item: Item) -> None:
        """Keep an item, if there is room."""
        with self.lock:
            if self.used + item.size <= self.limit:
                self.items[sample] = item
                self.used += item.size
            elif not self.full:
                self.full = True
                warn_full("memory", self.limit, f"{len(self.items)} of {self.expected} images fit")


class DiskCache:
    """Keep items as files, for later runs too; several processes may use one folder.

    A file's name says of which state of which image it is (path, size, time of change) and how that was resized. A file
    that is damaged is written anew.

    Args:
        folder: Where the files are.
        limit: Greatest number of bytes in the folder.
        options: Size of the images and how they are resized.
    """

    def __init__(self, folder: Path, limit: int, options: Dataset) -> None:
        self.folder, self.limit, self.lock, self.full = folder, limit, Lock(), False
        self.kind = (VERSION, *map(str, options.size), options.resize)
        self.used = sum(file.stat().st_size for file in folder.glob("*.item")) if folder.is_dir() else 0

    def get(self, sample: Sample) -> Item | None:
        """Return the item of a sample, or None if it has to be read."""
        try:
            content = self._file(sample).read_bytes()
            return unpack(content)
        except (OSError, ValueError, SafetensorError, KeyError):
            return None

    def put(self, sample: Sample, item: Item) -> None:
        """Keep an item, if there is room."""
        content = pack(item)
        with self.lock:
            room = self.used + len(content) <= self.limit
            self.used += len(content) if room else 0
            first, self.full = not room and not self.full, self.full or not room
        if first:
            warn_full(str(self.folder), self.limit, "it may hold images that are no longer of use")
        if room:
            self._write(sample, content)

    def _write(self, sample: Sample, content: bytes) -> None:
        try:
            with atomic(self._file(sample)) as temporary:
                temporary.write_bytes(content)
        except OSError as error:
            with self.lock:
                known, self.full, self.limit = self.full, True, 0
            if not known:
                warnings.warn(
                    f"--data.cache disk: {self.folder} cannot be written to ({error.strerror}), so that images are "
                    "decoded as they are needed; free space there, or let XDG_CACHE_HOME name another folder.",
                    UserWarning,
                    stacklevel=2,
                )

    def _file(self, sample: Sample) -> Path:
        """Name of a sample's file.

        Raises:
            OSError: If its image or mask is not there.
        """
        parts = list(self.kind)
        for path in (sample.path, *(mask_files(sample.mask) if sample.mask else [])):
            state = path.stat()
            parts += [str(path.absolute()), str((state.st_size, state.st_mtime_ns))]
        name = hashlib.sha256("\0".join(parts).encode(errors="surrogateescape")).hexdigest()
        return self.folder / f"{name[:40]}.item"


def pack(item: Item) -> bytes:
    """Write an item as a checksum and tensors."""
    tensors = {"image": item.image.contiguous(), "content": torch.tensor(item.content)}
    content = save(tensors if item.mask is None else tensors | {"mask": item.mask})
    return zlib.crc32(content).to_bytes(4, "big") + content


def unpack(content: bytes) -> Item:
    """Read what :func:`pack` wrote.

    Raises:
        ValueError: If it is damaged.
    """
    if len(content) < 4 or zlib.crc32(content[4:]).to_bytes(4, "big") != content[:4]:
        raise ValueError("damaged")
    tensors = load(content[4:])
    height, width = tensors["content"].tolist()
    return Item(tensors["image"], tensors.get("mask"), (height, width))


def default_folder() -> Path:
    """Folder of the cached images in the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "anomalib-flows" / "images"


def warn_full(place: str, limit: int, reason: str) -> None:
    """Say that no more images can be kept."""
    advice = "give more" if place == "memory" else "give more, or empty that folder"
    warnings.warn(
        f"--data.cache_size {limit / GB:g} (GB in {place}) is used up ({reason}): other images are decoded each time; "
        f"{advice}.",
        UserWarning,
        stacklevel=2,
    )
