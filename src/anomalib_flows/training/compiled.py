"""A loss that goes through ``torch.compile``, and what is said where that is impossible."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from anomalib_flows.models.base import Detector
from anomalib_flows.types import InputError


def compiled_loss(detector: Detector) -> Callable[[Any], Tensor]:
    """Compile a detector's loss for each size of batch that comes.

    Raises:
        InputError: When it is called, if it cannot be compiled here.
    """
    fast = torch.compile(detector.loss, dynamic=False)

    def loss(batch: Any) -> Tensor:
        from torch._dynamo.exc import TorchDynamoException  # a second of imports

        try:
            return fast(batch)
        except TorchDynamoException as error:
            reason = str(error).strip().splitlines()[0]
            raise InputError(f"--trainer.compile: {reason} Train without it, or install what it asks for.") from error

    return loss
