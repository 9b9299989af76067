"""Say in one sentence that memory is too small for a batch, and which batch it allows."""

from __future__ import annotations

import copy
import gc
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from anomalib_flows.core.cuda import is_out_of_memory
from anomalib_flows.core.errors import InputError
from anomalib_flows.models.base import Detector

SHARE = 0.9
"""Share of the memory that a suggested batch may take."""


@contextmanager
def memory_explained(detector: Detector, batch_size: int, device: torch.device) -> Iterator[None]:
    """Raise an InputError that names the batch size where the memory of a device ends.

    On CUDA it suggests a batch size that the memory allows, which it measures.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        traceback.clear_frames(error.__traceback__)  # they hold the tensors that fill the memory
        gc.collect()
        fitting = batch_size // 2
        if device.type == "cuda":
            own = copy.deepcopy(detector).to(device)
            fitting = fitting_batch(batch_size, lambda images: peak_memory(own, images, device), available(device))
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else "this machine"
        raise InputError(sentence(name, batch_size, fitting)) from error


def sentence(name: str, batch_size: int, fitting: int) -> str:
    """Return the sentence for a batch that does not fit; ``fitting`` is 0 if a single image does not fit either."""
    if fitting < 1:
        return f"The memory of {name} is too small for a single image (`loader.batch_size` 1): choose smaller images."
    return f"The memory of {name} is too small for `loader.batch_size` {batch_size}: set it to {fitting}."


def fitting_batch(batch_size: int, peak: Callable[[int], int], memory: int) -> int:
    """Return a number of images, below one that failed, that fits in the memory; 0 if not even one does.

    It is measured, since memory does not grow evenly with the images. One tenth more may fit as well.

    Args:
        batch_size: The number that failed.
        peak: Measures the largest memory, in bytes, that a number of images takes.
        memory: Bytes that there are.
    """
    fitting, failing = 0, batch_size
    while failing - fitting > max(1, fitting // 10):
        images = min(max(1, 2 * fitting), (fitting + failing) // 2)
        if fits(images, peak, memory):
            fitting = images
        else:
            failing = images
    return fitting


def fits(images: int, peak: Callable[[int], int], memory: int) -> bool:
    """Return whether a number of images fits in its share of the memory."""
    try:
        return peak(images) <= SHARE * memory
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return False


def peak_memory(detector: Detector, images: int, device: torch.device) -> int:
    """Return the largest memory in bytes that images take on CUDA: features, statistics, a training step, and maps.

    The detector is changed, and computes in float32.
    """
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    detector.zero_grad()
    features = detector.encode(torch.zeros(images, 3, *detector.image_size, device=device))
    detector.fit_statistics(iter([features]))
    for batch in detector.training_batches(features):
        detector.loss(batch).backward()  # type: ignore[no-untyped-call]
        break
    with torch.inference_mode():
        detector.anomaly_map(features)
    moments = sum(2 * p.nbytes for p in detector.parameters() if p.requires_grad)  # of Adam
    return torch.cuda.max_memory_allocated(device) + moments


def available(device: torch.device) -> int:
    """Return the bytes of a device that this process has or may get."""
    torch.cuda.empty_cache()
    number = torch.cuda.current_device() if device.index is None else device.index
    free, total = torch.cuda.mem_get_info(number)
    share = torch.cuda.get_per_process_memory_fraction(number)
    return min(free + torch.cuda.memory_reserved(number), int(share * total))
