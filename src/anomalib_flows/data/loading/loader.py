"""Batches of resized images, read ahead by threads.

Threads rather than processes: Pillow decodes and torch resizes without Python's lock, so they read as fast, and they
start at once on every system, share one cache, and send nothing back and forth.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Barrier
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from anomalib_flows.core.geometry import ResizeMode, content_size
from anomalib_flows.core.parallel import default_threads
from anomalib_flows.core.preprocess import resize
from anomalib_flows.core.types import NORMAL, Batch, ImageSize, Sample
from anomalib_flows.data.datasets.base import Dataset
from anomalib_flows.data.loading.cache import Cache, Item, make_cache
from anomalib_flows.data.loading.reading import read_sample

T = TypeVar("T")

AHEAD = 2
"""Batches that are read while another is worked on."""


def read_resized(sample: Sample, size: ImageSize, mode: ResizeMode) -> Item:
    """Read the image and the mask of a sample, and resize both.

    Args:
        sample: What to read.
        size: Height H and width W to resize to.
        mode: ``stretch`` or ``pad``, see :func:`anomalib_flows.core.preprocess.resize`.

    Raises:
        InputError: If a file cannot be read, or the mask is not as large as the image.
    """
    image, mask = read_sample(sample)
    inner = content_size(image.shape[1], image.shape[2], size, mode)
    return Item(resize(image, size, mode), None if mask is None else resize_mask(mask, inner, size), inner)


def resize_mask(mask: Tensor, inner: ImageSize, size: ImageSize) -> Tensor:
    """Resize a boolean mask of shape (h, w) to ``inner`` by nearest pixel, and pad with False to ``size``."""
    pixels = F.interpolate(mask[None, None].to(torch.uint8), inner, mode="nearest-exact")
    return F.pad(pixels, (0, size[1] - inner[1], 0, size[0] - inner[0]))[0, 0].bool()


def collate(samples: list[Sample], items: list[Item]) -> Batch:
    """Put items together; normal images have a mask without a pixel in it."""
    images = torch.stack([item.image for item in items])
    clean = torch.zeros(images.shape[-2:], dtype=torch.bool)
    masks = [
        clean if item.mask is None and sample.label == NORMAL else item.mask
        for sample, item in zip(samples, items, strict=True)
    ]
    return Batch(images, samples, masks, [item.content for item in items])


class Loader:
    """Iterate over batches, in the order of the samples or shuffled anew in each epoch.

    The order depends on the seed and the epoch alone, so that a resumed run repeats it.

    Args:
        samples: What to read.
        options: Size, batch size and number of threads.
        cache: What keeps images that were read before.
        seed: Seed of the order; None keeps that of the samples.
    """

    def __init__(self, samples: list[Sample], options: Dataset, cache: Cache | None = None, seed: int | None = None):
        self.samples, self.options, self.cache, self.seed, self.epoch = samples, options, cache, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order the next iteration follows."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.batch_sizes())

    def batch_sizes(self) -> list[int]:
        """Count the images of each batch; only the last may be smaller."""
        whole, rest = divmod(len(self.samples), self.options.batch_size)
        return [self.options.batch_size] * whole + [rest] * bool(rest)

    def __iter__(self) -> Iterator[Batch]:
        for batch, items in self.ahead(self.read):
            yield collate(batch, items)

    def ahead(self, read: Callable[[Sample], T]) -> Iterator[tuple[list[Sample], list[T]]]:
        """Yield the samples of each batch with what is read of them, which threads do ahead."""
        ordered = iter(self._ordered())
        batches = [[next(ordered) for _ in range(size)] for size in self.batch_sizes()]
        workers = default_threads() if self.options.workers is None else self.options.workers
        if workers == 0:
            yield from ((batch, [read(sample) for sample in batch]) for batch in batches)
            return
        waiting: deque[tuple[list[Sample], list[Future[T]]]] = deque()
        with reading_threads(min(workers, len(self.samples))) as pool:
            for batch in batches:
                waiting.append((batch, [pool.submit(read, sample) for sample in batch]))
                if len(waiting) > AHEAD:
                    yield _collected(*waiting.popleft())
            while waiting:
                yield _collected(*waiting.popleft())

    def _ordered(self) -> list[Sample]:
        if self.seed is None:
            return self.samples
        return [self.samples[i] for i in np.random.default_rng((self.seed, self.epoch)).permutation(len(self.samples))]

    def read(self, sample: Sample) -> Item:
        """Read and resize a sample, or take it from the cache."""
        item = self.cache.get(sample) if self.cache else None
        if item is None:
            item = self.read_file(sample)
            if self.cache:
                self.cache.put(sample, item)
        return item

    def read_file(self, sample: Sample) -> Item:
        """Read and resize a sample."""
        return read_resized(sample, self.options.size, self.options.resize)


def _collected(batch: list[Sample], reading: list[Future[T]]) -> tuple[list[Sample], list[T]]:
    """Wait for what is read of a batch."""
    return batch, [item.result() for item in reading]


@contextmanager
def reading_threads(count: int) -> Iterator[ThreadPoolExecutor]:
    """Start threads in which torch computes by one core each; what is not begun when they end is not read.

    Otherwise every thread would bring along as many of torch's own as there are cores, which get in each other's way
    and in that of the training: resizing took twice as long.
    """
    own, started = torch.get_num_threads(), Barrier(count + 1)

    def start() -> None:
        torch.set_num_threads(1)
        torch.get_num_threads()  # from here on this thread keeps its number, whatever others set
        started.wait()

    pool = ThreadPoolExecutor(count, "reading", start)
    try:
        for _ in range(count):
            pool.submit(int)
        started.wait()
        torch.set_num_threads(own)
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def loader(samples: list[Sample], options: Dataset, *, shuffle_seed: int | None = None) -> Loader:
    """Build a loader of all samples, in their order or, to train on, shuffled anew in each epoch.

    Args:
        samples: What to read.
        options: Size, batch size, number of threads and cache.
        shuffle_seed: Seed of the order; None keeps the order of the samples.
    """
    return Loader(samples, options, make_cache(samples, options, repeated=shuffle_seed is not None), shuffle_seed)
