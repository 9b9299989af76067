"""Keep resized images in memory or on disk.

Resized images are kept in float32, without rounding: a run with a cache equals one without it, bit for bit.
"""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import torch
from torch import Tensor

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.store import GB, Store, Tensors, cache_folder, digest_of
from anomalib_flows.core.types import ImageSize, Sample
from anomalib_flows.data.listing import mask_files
from anomalib_flows.run.options import ImageOptions, LoaderOptions

VERSION = "3"
"""Part of every name on disk. Raise it when the values of a resized image change."""


def is_content(tensor: Tensor, size: ImageSize) -> bool:
    """Return whether a tensor holds the height and width of an image within a size."""
    sides = tensor.tolist() if tensor.dtype == torch.int64 and tensor.shape == (2,) else [0, 0]
    return all(0 < side <= most for side, most in zip(sides, size, strict=True))


def is_item(tensors: Tensors, size: ImageSize, *, masked: bool) -> bool:
    """Return whether tensors are those of an item of a size; the checksum of a file says nothing about that."""
    types = {"image": (torch.float32, (3, *size)), "mask": (torch.bool, size), "content": (torch.int64, (2,))}
    expected = {name: kind for name, kind in types.items() if name != "mask" or masked}
    found = {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()}
    return found == expected and is_content(tensors["content"], size)


class Item(NamedTuple):
    """An image (3, H, W), its boolean mask (H, W) if there is one, and the size of its own pixels."""

    image: Tensor
    mask: Tensor | None
    content: ImageSize

    @property
    def size(self) -> int:
        """Bytes of image and mask."""
        return self.image.nbytes + (0 if self.mask is None else self.mask.nbytes)


def make_cache(
    samples: list[Sample], image: ImageOptions, options: LoaderOptions, *, repeated: bool
) -> MemoryCache | DiskCache | None:
    """Make the cache that the options ask for; images that are not read repeatedly are not kept in memory."""
    limit = int(options.cache_size * GB)
    if options.cache == "memory" and repeated:
        return MemoryCache(limit, len(samples))
    if options.cache == "disk":
        return DiskCache(cache_folder("images"), limit, image)
    return None


class MemoryCache:
    """Keep items, up to ``limit`` bytes, as long as the process lives; ``expected`` counts the samples."""

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
                warnings.warn(
                    f"`loader.cache_size` {self.limit / GB:g} (GB in memory) is used up ({len(self.items)} of "
                    f"{self.expected} images fit): other images are decoded each time; increase it.",
                    stacklevel=2,
                )


class DiskCache:
    """Keep items as files, for later runs as well; several processes may use one folder, up to ``limit`` bytes.

    The name of a file is a digest of the contents of image and mask, and of the resizing. A file that is damaged, or
    holds something else, is written again.
    """

    def __init__(self, folder: Path, limit: int, image: ImageOptions) -> None:
        self.store = Store(folder, limit, "loader.cache_size", "images are decoded each time")
        self.kind, self.size = (VERSION, *map(str, image.height_width), image.resize), image.height_width
        self.asked: dict[Sample, str] = {}

    def get(self, sample: Sample) -> Item | None:
        """Return the item of a sample, or None if it has to be read."""
        try:
            name = self.asked[sample] = self._name(sample)
        except (OSError, InputError):  # reading it says what is wrong
            return None
        tensors = self.store.get(name) or {}
        if not is_item(tensors, self.size, masked=sample.mask is not None):
            return None
        self.asked.pop(sample, None)  # another thread may have read the same image
        height, width = tensors["content"].tolist()
        return Item(tensors["image"], tensors.get("mask"), (height, width))

    def put(self, sample: Sample, item: Item) -> None:
        """Keep an item, if there is room and its files have not changed since :meth:`get` was asked for it."""
        tensors = {"image": item.image, "content": torch.tensor(item.content)}
        if (name := self.asked.pop(sample, "")) and name == self._name(sample):
            self.store.put(name, tensors if item.mask is None else tensors | {"mask": item.mask})

    def _name(self, sample: Sample) -> str:
        """Return the name of a sample's file, or raise an OSError if its image or mask does not exist."""
        files = [sample.path, *(mask_files(sample.mask) if sample.mask else [])]
        return hashlib.sha256("\0".join([*self.kind, *map(digest_of, files)]).encode()).hexdigest()[:40]
