"""How long and on what a detector is trained."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal

from anomalib_flows.core.types import InputError, require


@dataclass(frozen=True, kw_only=True)
class TrainerOptions:
    """Options of Lightning's trainer that are of use here.

    Args:
        max_epochs: Passes over the training images.
        accelerator: ``auto``, ``cpu`` or ``cuda``.
        precision: ``32``, ``bf16-mixed``, or ``16-mixed`` on CUDA. Likelihoods are summed in float32 always.
        compile: Whether the loss goes through ``torch.compile``: half a minute or more at the start, and faster
            steps. On a CPU it needs a C++ compiler and Python's headers.
        gradient_clip: Largest norm of the gradient; no limit if not given.
        cache: ``disk`` computes the encoder's features once and keeps them for later epochs, runs and models; ``none``
            computes them each time, as is done with images that are changed at random, but for ``cache_variants``.
        cache_size: Room for them in GB; those beyond it are computed each time.
        cache_dtype: What they are kept in: ``computed`` for what they were computed in, which is exact; ``float32``,
            ``bfloat16`` or ``float16``.
        cache_variants: In how many variants each image is trained on, and kept, if images are changed at random; 0 for
            a new one in each epoch.
        logger: ``csv`` writes the loss of each step to ``logs/``; ``tensorboard`` needs the extra of that name.
    """

    max_epochs: int = 20
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["32", "bf16-mixed", "16-mixed"] = "32"
    compile: bool = False
    gradient_clip: float | None = None
    cache: Literal["disk", "none"] = "disk"
    cache_size: float = 10.0
    cache_dtype: Literal["computed", "float32", "bfloat16", "float16"] = "computed"
    cache_variants: int = 0
    logger: Literal["csv", "tensorboard"] = "csv"

    def __post_init__(self) -> None:
        """Refuse numbers of no use when they are given."""
        require(self.max_epochs >= 1, "--trainer.max_epochs", self.max_epochs, "at least 1")
        clip = self.gradient_clip
        require(clip is None or clip > 0, "--trainer.gradient_clip", clip, "above 0")
        require(
            0 < self.cache_size < 1e9, "--trainer.cache_size", self.cache_size, "above 0 and below a million, in GB"
        )
        require(self.cache_variants >= 0, "--trainer.cache_variants", self.cache_variants, "at least 0")
        if self.logger == "tensorboard" and not find_spec("tensorboard"):
            raise InputError("--trainer.logger tensorboard needs it: pip install 'anomalib-flows[tensorboard]'.")
