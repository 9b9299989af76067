"""Batches of resized images, read ahead by threads.

Threads instead of processes: Pillow decodes and torch resizes without Python's global lock, so threads read as fast.
They start at once on every system, share one cache, and copy nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Barrier
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from anomalib_flows.core.files import default_threads
from anomalib_flows.core.images import MAX_MEGAPIXELS
from anomalib_flows.core.preprocess import resize
from anomalib_flows.core.types import NORMAL, Batch, Sample, content_size
from anomalib_flows.data.loading.cache import Item, make_cache
from anomalib_flows.data.loading.masks import resize_mask
from anomalib_flows.data.loading.reading import read_sample
from anomalib_flows.run.options import ImageOptions, LoaderOptions

T = TypeVar("T")

AHEAD = 2
"""Batches that are read while another one is processed."""


def read_resized(sample: Sample, image: ImageOptions, max_megapixels: float = MAX_MEGAPIXELS) -> Item:
    """Read the image and the mask of a sample, and resize both."""
    return resized(*read_sample(sample, max_megapixels), image)


def resized(pixels: Tensor, mask: Tensor | None, image: ImageOptions) -> Item:
    """Resize an image (3, h, w) and its mask (h, w)."""
    size = image.height_width
    inner = content_size(pixels.shape[1], pixels.shape[2], size, image.resize)
    return Item(resize(pixels, size, image.resize), None if mask is None else resize_mask(mask, inner, size), inner)


def collate(samples: list[Sample], items: Sequence[Item]) -> Batch:
    """Combine items; the mask of a normal image is all False."""
    images = torch.stack([item.image for item in items])
    clean = torch.zeros(images.shape[-2:], dtype=torch.bool)
    masks = [
        clean if item.mask is None and sample.label == NORMAL else item.mask
        for sample, item in zip(samples, items, strict=True)
    ]
    return Batch(images, samples, masks, [item.content for item in items])


class Loader:
    """Iterate over batches, in the order of the samples or shuffled in each epoch.

    The order depends only on the seed and the epoch, so that a resumed run repeats it.

    Args:
        samples: Images to read.
        image: Size that images are resized to.
        options: Batch size, number of threads and cache.
        seed: Seed of the order; None keeps that of the samples.
    """

    def __init__(
        self, samples: Sequence[Sample], image: ImageOptions, options: LoaderOptions, seed: int | None = None
    ) -> None:
        self.samples, self.image, self.options, self.seed, self.epoch = list(samples), image, options, seed, 0
        self.cache = make_cache(self.samples, image, options, repeated=seed is not None)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order the next iteration follows."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.batch_sizes())

    def batch_sizes(self) -> list[int]:
        """Count the images of each batch; only the last batch may be smaller."""
        whole, rest = divmod(len(self.samples), self.options.images_per_batch)
        return [self.options.images_per_batch] * whole + [rest] * bool(rest)

    def __iter__(self) -> Iterator[Batch]:
        for batch, items in self.ahead(self.read):
            yield collate(batch, items)

    def ahead(self, read: Callable[[Sample], T]) -> Iterator[tuple[list[Sample], list[T]]]:
        """Yield the samples of each batch with what ``read`` returns for them; threads call it ahead."""
        ordered = iter(self._ordered())
        batches = [[next(ordered) for _ in range(size)] for size in self.batch_sizes()]
        workers = default_threads() if self.options.workers is None else self.options.workers
        if workers == 0:
            yield from ((batch, [read(sample) for sample in batch]) for batch in batches)
            return
        waiting: deque[tuple[list[Sample], list[Future[T]]]] = deque()
        with reading_threads(min(workers, max(1, len(self.samples)))) as pool:
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
        return read_resized(sample, self.image, self.options.max_megapixels)


def _collected(batch: list[Sample], reading: list[Future[T]]) -> tuple[list[Sample], list[T]]:
    """Wait until a batch has been read."""
    return batch, [item.result() for item in reading]


@contextmanager
def reading_threads(count: int) -> Iterator[ThreadPoolExecutor]:
    """Start threads in which torch uses one core each; at the end, reads that have not begun are cancelled.

    Otherwise each thread would start as many threads of torch as there are cores, which compete with each other and
    with the training: resizing took twice as long.
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
