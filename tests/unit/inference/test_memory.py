"""Where memory ends, one sentence names the batch size, and one that the memory allows."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch

from anomalib_flows import FastFlow
from anomalib_flows.core.errors import InputError
from anomalib_flows.inference.memory import available, fitting_batch, memory_explained, peak_memory

CPU = torch.device("cpu")
ANY: Any = None


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        MemoryError(),
    ],
    ids=str,
)
def test_the_sentence_names_the_batch_size_and_a_smaller_one(error: Exception) -> None:
    with pytest.raises(InputError) as raised, memory_explained(ANY, 32, CPU):
        raise error
    assert str(raised.value) == "The memory of this machine is too small for `loader.batch_size` 32: set it to 16."


def test_torchs_own_message_on_a_cpu_is_known() -> None:
    with pytest.raises(InputError, match="`loader.batch_size` 4: set it to 2"), memory_explained(ANY, 4, CPU):
        torch.empty(2**60)


def test_other_errors_pass() -> None:
    with pytest.raises(RuntimeError, match="shapes"), memory_explained(ANY, 4, CPU):
        raise RuntimeError("shapes do not match")


def test_no_batch_is_left_to_suggest_below_one() -> None:
    with pytest.raises(InputError, match="too small for a single image"), memory_explained(ANY, 1, CPU):
        raise MemoryError


def test_what_filled_the_memory_is_freed_before_the_sentence() -> None:
    freed = []

    def fill() -> None:
        large = torch.zeros(10)
        freed.append(weakref.ref(large))
        raise MemoryError

    with pytest.raises(InputError), memory_explained(ANY, 4, CPU):
        fill()
    assert freed[0]() is None


def straight(base: int, each: int, limit: int) -> Callable[[int], int]:
    """Memory that grows by the same amount with each image, up to a limit."""

    def peak(images: int) -> int:
        if base + each * images > limit:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return base + each * images

    return peak


@pytest.mark.parametrize(
    ("base", "each", "limit", "expected"),
    [
        (100, 10, 1000, 80),  # nine tenths of the memory
        (100, 10, 10_000, 127),  # what failed is not suggested
        (800, 80, 1000, 1),
        (900, 80, 1000, 0),
        (0, 1, 300, 127),
    ],
)
def test_the_suggested_batch_fits(base: int, each: int, limit: int, expected: int) -> None:
    peak = straight(base, each, limit)
    found = fitting_batch(128, peak, limit)
    assert 0.9 * expected - 1 <= found <= expected
    assert found == 0 or peak(found) <= limit


@pytest.mark.gpu
def test_the_suggested_batch_fits_on_the_device() -> None:
    device = torch.device("cuda")
    detector = FastFlow((128, 128), "resnet18", weights="random", steps=2).to(device)
    found = fitting_batch(10**6, lambda images: peak_memory(detector, images, device), 2**30)
    assert 3 < found < 10**6
    assert 2**29 < peak_memory(detector, found, device) <= 2**30
    assert available(device) > 0
