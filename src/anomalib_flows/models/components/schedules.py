"""Factors of the learning rate, as functions of the share of the training that is done."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

Schedule = Literal["constant", "cosine", "published"]


def cosine_factor(progress: float) -> float:
    """Rise over the first twentieth, then fall to zero along a cosine."""
    return min(1.0, 0.1 + 18 * progress) * 0.5 * (1 + math.cos(math.pi * progress))


def published_factor(progress: float, epochs: int = 25, warm_up: int = 2, lowest: float = 1e-3) -> float:
    """Rise from a tenth over 2 of 25 epochs, then fall along a cosine, epoch by epoch, to a thousandth."""

    def cosine(epoch: float) -> float:
        return lowest + (1 - lowest) * 0.5 * (1 + math.cos(math.pi * epoch / epochs))

    epoch = progress * epochs
    if epoch < warm_up:
        return 0.1 + epoch / warm_up * (cosine(warm_up) - 0.1)
    return cosine(math.floor(epoch))


SCHEDULES: dict[Schedule, Callable[[float], float]] = {
    "constant": lambda _: 1.0,
    "cosine": cosine_factor,
    "published": published_factor,
}
