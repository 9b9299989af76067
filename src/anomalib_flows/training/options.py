"""How long and on what a detector is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class TrainerOptions:
    """Options of Lightning's trainer that are of use here.

    Args:
        max_epochs: Passes over the training images.
        accelerator: ``auto``, ``cpu`` or ``cuda``.
        precision: ``32``, ``bf16-mixed``, or ``16-mixed`` on CUDA. Likelihoods are summed in float32 always.
        gradient_clip: Largest norm of the gradient; no limit if not given.
        logger: ``csv`` writes the loss of each step to ``logs/``; ``tensorboard`` needs the extra of that name.
    """

    max_epochs: int = 20
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["32", "bf16-mixed", "16-mixed"] = "32"
    gradient_clip: float | None = None
    logger: Literal["csv", "tensorboard"] = "csv"
