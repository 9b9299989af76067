"""Helpers that several test files share."""

import socket
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

Disturb = Callable[..., nn.Module]
RelativeError = Callable[[Tensor, Tensor], float]


@pytest.fixture
def disturb() -> Disturb:
    """Move all parameters, for many begin as zeros, ones or the identity, which hide faults."""

    @torch.no_grad()
    def move(module: nn.Module, scale: float = 0.1, seed: int = 0) -> nn.Module:
        generator = torch.Generator().manual_seed(seed)
        for p in module.parameters():
            p.add_(scale * torch.randn(p.shape, generator=generator).to(p.dtype))
        return module

    return move


@pytest.fixture
def relative_error() -> RelativeError:
    """Largest difference of two tensors, as a share of the largest expected value."""

    def error(actual: Tensor, expected: Tensor) -> float:
        assert actual.shape == expected.shape
        assert actual.dtype == expected.dtype
        largest = expected.detach().abs().max().clamp_min(torch.finfo(expected.dtype).tiny)
        return float((actual - expected).detach().abs().max() / largest)

    return error


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail at once instead of asking the network."""

    def refuse(*_: object) -> None:
        raise OSError("the tests use no network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
