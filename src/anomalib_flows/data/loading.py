"""Batches of resized images, read by worker processes."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils import data

from anomalib_flows.data.base import Dataset
from anomalib_flows.data.reading import read_sample
from anomalib_flows.preprocess import ResizeMode, content_size, resize
from anomalib_flows.types import NORMAL, Batch, ImageSize, InputError, Sample

Item = tuple[Tensor, Sample, Tensor | None, ImageSize]


class ImageDataset(data.Dataset[Item | InputError]):
    """Read and resize the images of samples.

    An item is the image of shape (3, H, W), the sample, the mask of shape (H, W) if there is one, and the
    height and width of the image's own pixels. A file that cannot be read is returned as an error instead:
    raised in a worker process, it would reach the user with that process's traceback in its text.

    Args:
        samples: What to read.
        size: Height H and width W of the items.
        mode: ``stretch`` or ``pad``, see :func:`anomalib_flows.preprocess.resize`.
    """

    def __init__(self, samples: list[Sample], size: ImageSize, mode: ResizeMode) -> None:
        self.samples, self.size, self.mode = samples, size, mode

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Item | InputError:
        sample = self.samples[index]
        try:
            image, mask = read_sample(sample)
        except InputError as error:
            return error
        inner = content_size(image.shape[1], image.shape[2], self.size, self.mode)
        small = None if mask is None else resize_mask(mask, inner, self.size)
        return resize(image, self.size, self.mode), sample, small, inner


def resize_mask(mask: Tensor, inner: ImageSize, size: ImageSize) -> Tensor:
    """Resize a boolean mask of shape (h, w) to ``inner`` by nearest pixel, and pad with False to ``size``."""
    pixels = F.interpolate(mask[None, None].to(torch.uint8), inner, mode="nearest-exact")
    return F.pad(pixels, (0, size[1] - inner[1], 0, size[0] - inner[0]))[0, 0].bool()


def collate(items: list[Item | InputError]) -> Batch | InputError:
    """Put items together; the first that could not be read stands for the whole batch."""
    read: list[Item] = []
    for item in items:
        if isinstance(item, InputError):
            return item
        read.append(item)
    images, samples, masks, contents = zip(*read, strict=True)
    stacked = torch.stack(images)
    clean = torch.zeros(stacked.shape[-2:], dtype=torch.bool)
    # One storage for all masks: each that a worker process sends keeps a file open as long as it lives.
    clean, *known = torch.stack([clean, *(mask for mask in masks if mask is not None)])
    rest = iter(known)
    shared = [
        next(rest) if mask is not None else clean if sample.label == NORMAL else None
        for mask, sample in zip(masks, samples, strict=True)
    ]
    return Batch(stacked, list(samples), shared, list(contents))


class EpochSampler(data.Sampler[int]):
    """Shuffle in an order that depends on the seed and the epoch alone, so that a resumed run repeats it.

    Args:
        length: How many items there are.
        seed: Seed of the order; None keeps the items in theirs.
    """

    def __init__(self, length: int, seed: int | None) -> None:
        self.length, self.seed, self.epoch = length, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order the next iteration follows."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[int]:
        if self.seed is None:
            return iter(range(self.length))
        return iter(np.random.default_rng((self.seed, self.epoch)).permutation(self.length).tolist())


class Loader:
    """Iterate over batches, raising what could not be read as one clean sentence.

    Args:
        batches: Loader of batches or errors.
        sampler: What decides the order.
    """

    def __init__(self, batches: data.DataLoader[Item | InputError], sampler: EpochSampler) -> None:
        self.batches, self.sampler = batches, sampler

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order the next iteration follows."""
        self.sampler.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.batches)

    def batch_sizes(self) -> list[int]:
        """Count the images of each batch; only the last may be smaller."""
        whole, rest = divmod(len(self.sampler), self.batches.batch_size or 1)
        return [self.batches.batch_size or 1] * whole + [rest] * bool(rest)

    def __iter__(self) -> Iterator[Batch]:
        for batch in self.batches:
            if isinstance(batch, InputError):
                raise batch
            yield batch


def loader(samples: list[Sample], options: Dataset, *, shuffle_seed: int | None = None) -> Loader:
    """Build a loader of all samples, in their order or shuffled anew in each epoch.

    Args:
        samples: What to read.
        options: Size, batch size and number of workers.
        shuffle_seed: Seed of the order; None keeps the order of the samples.
    """
    sampler = EpochSampler(len(samples), shuffle_seed)
    batches = -(-len(samples) // options.batch_size)
    return Loader(
        data.DataLoader(
            ImageDataset(samples, options.size, options.resize),
            batch_size=options.batch_size,
            sampler=sampler,
            num_workers=min(default_workers() if options.workers is None else options.workers, batches),
            collate_fn=collate,
            generator=torch.Generator(),  # of its own, so that reading leaves the global random state alone
        ),
        sampler,
    )


def default_workers() -> int:
    """Two cores fewer than this process may use, since training needs some itself; at most 8.

    Example:
        >>> 0 <= default_workers() <= 8
        True
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(0, min(8, cores - 2))
