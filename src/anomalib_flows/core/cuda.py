"""What CUDA needs: copies that nothing waits for, float32 that is float32, and to know where memory ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch
from torch import Tensor

NO_MEMORY = "out of memory", "can't allocate memory", "ALLOC_FAILED"
"""Parts of the messages of CUDA, of torch on a CPU, and of cuBLAS and cuDNN where memory ends."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory ended."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(part in str(error) for part in NO_MEMORY)


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor to a device; to CUDA while the device computes, without waiting.

    The copy goes through pinned memory in a stream of its own. What is computed from it afterwards waits for it on the
    device, not in Python.
    """
    if device.type != "cuda" or tensor.device.type == "cuda":
        return tensor.to(device)
    copying, computing = _copy_stream(device), torch.cuda.current_stream(device)
    with torch.cuda.stream(copying):
        copied = tensor.pin_memory().to(device, non_blocking=True)
    computing.wait_stream(copying)
    copied.record_stream(computing)  # or its memory could be used again too early
    return copied


@cache
def _copy_stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


@contextmanager
def full_float32() -> Iterator[None]:
    """Compute convolutions in float32 where torch would round their inputs to TF32, with 10 bits, on CUDA.

    So scores are those of the CPU to float32's rounding, and thresholds hold for exported models. Whoever prefers speed
    trains in bfloat16.
    """
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before
