"""Compile the loss by ``torch.compile``, and explain why it cannot be compiled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from anomalib_flows.core.errors import InputError
from anomalib_flows.models.base import Detector


def compiled_loss(detector: Detector) -> Callable[[Any], Tensor]:
    """Compile a detector's loss as one graph, again for each batch size."""
    return torch.compile(detector.loss, dynamic=False, fullgraph=True)


@contextmanager
def explained() -> Iterator[None]:
    """Raise an InputError that says why something cannot be compiled.

    Raises:
        InputError: If it cannot be.
    """
    from torch._dynamo.exc import TorchDynamoException

    try:
        yield
    except TorchDynamoException as error:
        cause = getattr(error, "inner_exception", error)
        lines = [line.strip() for line in str(cause).splitlines() if line.strip()] or [type(cause).__name__]
        raise InputError(
            f"`trainer.compile` is not possible here: {lines[0].rstrip('.')}. Train without it."
        ) from error
