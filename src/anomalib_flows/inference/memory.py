"""Say in one sentence that memory is too small for a batch, and which batch it allows."""

from __future__ import annotations

import copy
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

    On CUDA it suggests a batch size that the memory allows, from the memory that small batches take.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        traceback.clear_frames(error.__traceback__)  # they hold the tensors that fill the memory
        fitting = batch_size // 2
        if device.type == "cuda":
            fitting = fitting_batch(batch_size, lambda images: peak_memory(detector, images, device), available(device))
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else "this machine"
        raise InputError(sentence(name, batch_size, fitting)) from error


def sentence(name: str, batch_size: int, fitting: int) -> str:
    """Return the sentence for a batch that does not fit; ``fitting`` is 0 if a single image does not fit either."""
    if fitting < 1:
        return f"The memory of {name} is too small for a single image (`loader.batch_size` 1): choose smaller images."
    return f"The memory of {name} is too small for `loader.batch_size` {batch_size}: set it to {fitting}."


def fitting_batch(batch_size: int, peak: Callable[[int], int], memory: int) -> int:
    """Return the largest number of images, below one that failed, that fits in the memory; 0 if not even one does.

    Args:
        batch_size: The number that failed.
        peak: Measures the largest memory, in bytes, that a number of images takes.
        memory: Bytes that there are.
    """
    try:
        one, three = peak(1), peak(3)
    except (RuntimeError, MemoryError):  # too many already
        return min(1, batch_size - 1)
    each = max(1, (three - one) // 2)
    return max(0, min(batch_size - 1, 1 + int(SHARE * memory - one) // each))


def peak_memory(detector: Detector, images: int, device: torch.device) -> int:
    """Return the largest memory in bytes that images take on CUDA: encoding, a training step in float32, maps."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    own = copy.deepcopy(detector).to(device)
    features = own.encode(torch.zeros(images, 3, *own.image_size, device=device))
    for batch in own.training_batches(features):
        own.loss(batch).backward()  # type: ignore[no-untyped-call]
        break
    with torch.inference_mode():
        own.anomaly_map(features)
    moments = sum(2 * p.nbytes for p in own.parameters() if p.requires_grad)  # of Adam
    return torch.cuda.max_memory_allocated(device) + moments


def available(device: torch.device) -> int:
    """Return the bytes of a device that this process has or may get."""
    torch.cuda.empty_cache()
    free, total = torch.cuda.mem_get_info(device)
    share = torch.cuda.get_per_process_memory_fraction(device)
    return min(free + torch.cuda.memory_reserved(device), int(share * total))
