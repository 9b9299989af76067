"""Copies to a device, and float32 without TF32."""

import pytest
import torch

from anomalib_flows.core.cuda import full_float32, to_device

needs_cuda = pytest.mark.gpu


def test_a_copy_to_its_own_device_is_the_tensor() -> None:
    tensor = torch.rand(3, 4)
    assert to_device(tensor, torch.device("cpu")) is tensor


def test_tf32_is_off_inside_and_as_it_was_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for before in (True, False):
        monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", before)
        with full_float32():
            assert not torch.backends.cudnn.allow_tf32
        assert torch.backends.cudnn.allow_tf32 == before


@needs_cuda
def test_copies_arrive_whole_while_the_device_computes() -> None:
    device = torch.device("cuda")
    busy = torch.rand(4096, 4096, device=device)
    sources = [torch.full((4, 64, 32, 32), float(i)).contiguous(memory_format=torch.channels_last) for i in range(50)]
    arrived = []
    for source in sources:
        busy = busy @ busy / 4096
        copied = to_device(source, device)
        assert copied.stride() == source.stride()
        arrived.append(copied * 1)  # the copy itself is freed, and its memory used again
    assert [float(tensor.mean()) for tensor in arrived] == [float(i) for i in range(50)]


@needs_cuda
def test_copies_wait_for_nothing() -> None:
    device = torch.device("cuda")
    to_device(torch.rand(8), device)
    torch.cuda.set_sync_debug_mode("error")
    try:
        copied = to_device(torch.ones(1000), device)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert float(copied.sum()) == 1000
