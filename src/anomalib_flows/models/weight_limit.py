"""Refuse models with too many weights while they are built, before their memory is used."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from torch.nn.modules import module as hooks

from anomalib_flows.core.errors import InputError

MOST_WEIGHTS = 2**28
"""Weights of a model's flows: a gigabyte, of which a training needs four."""


@contextmanager
def limited_weights(most: float, sentence: str) -> Iterator[None]:
    """Raise an InputError with a sentence once modules that the block builds have more weights than ``most``.

    A layer is counted before its weights are filled, so that memory is asked for but not used.
    """
    counted = 0

    def count(_: Any, name: str, tensor: Tensor | None) -> None:
        nonlocal counted
        counted += 0 if tensor is None else tensor.numel()
        if counted > most:
            raise InputError(sentence)

    handles = [
        hooks.register_module_parameter_registration_hook(count),
        hooks.register_module_buffer_registration_hook(count),
    ]
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if "memory" in str(error) or "overflow" in str(error):
            raise InputError(sentence) from error
        raise
    finally:
        for handle in handles:
            handle.remove()
