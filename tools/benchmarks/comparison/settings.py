"""Settings of a comparison: encoders, sizes, and the implementations with their precisions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

KERNELS = {"resnet18": (3,), "wide_resnet50_2": (3, 1), "mobilenetv2_100": (3,)}
"""Kernel sizes of FastFlow's steps, in turn."""
STAGES = {"resnet18": (1, 2, 3), "wide_resnet50_2": (2, 3, 4), "mobilenetv2_100": (2, 3, 4)}
"""Stages of the encoder that CFLOW takes: timm's feature maps; anomalib calls them layer1 to layer4."""
TIMM_ARGS: dict[str, dict[str, Any]] = {"mobilenetv2_100": {"pad_type": "same"}}  # weights that TensorFlow trained
INFERENCE, TRAINING, ALL_VECTORS = "inference, batch 1", "training step", "training step on all vectors"
COMPILED = "training step, compiled"
ANOMALIBS_VECTORS = 64
"""Feature vectors in a step of anomalib's CFLOW."""


@dataclass(frozen=True)
class Setting:
    """Model, encoder, sizes and threads, the same for all contenders.

    Args:
        model: ``fastflow`` or ``cflow``.
        backbone: Name of the encoder.
        batch: Images of a training step.
        size: Height and width of the images.
        threads: Threads of each process.
        weights: File of the encoder's weights, or ``random``.
    """

    model: str
    backbone: str
    batch: int
    size: int
    threads: int
    weights: str = "random"

    @property
    def vectors_of_smallest_map(self) -> int:
        """Feature vectors of a batch in the smallest map that CFLOW takes."""
        stride = 2 ** (STAGES[self.backbone][-1] + 1)
        return self.batch * (self.size // stride) ** 2


@dataclass(frozen=True)
class Contender:
    """One implementation in one precision, with one kind of work.

    Args:
        package: `ours`, `anomalib`, or `products`: plain matrix products, whose time is the floor of all others.
        work: The row of the table: inference or a kind of training step.
        precision: `float32` or `bfloat16`. In training and for anomalib, bfloat16 is torch.autocast, as in Lightning's
            bf16-mixed; in our inference the weights are in bfloat16, as with `latency --precision bf16`.
        cached: Whether the encoder's features are given.
        vectors: For CFLOW: feature vectors per step if all are used, one feature map after the other; 0 for the default
            of the implementation.
        compiled: Whether the loss goes through torch.compile, as with `--trainer.compile`.
    """

    package: str
    work: str
    precision: str = "float32"
    cached: bool = False
    vectors: int = 0
    compiled: bool = False

    def __str__(self) -> str:
        of_cflow = f", {self.vectors} vectors a step" if self.vectors else ""
        how = ", features cached" if self.cached else "", ", compiled" if self.compiled else ""
        return f"{self.package}, {self.precision}{of_cflow}{''.join(how)}"


def contest(row: str, setting: Setting) -> list[Contender]:
    """List the contenders of a row; the first is anomalib in float32, its default."""
    peer, both = Contender("anomalib", row), ("float32", "bfloat16")
    if row == ALL_VECTORS:
        steps = (ANOMALIBS_VECTORS, max(ANOMALIBS_VECTORS, setting.vectors_of_smallest_map))
        ours = [Contender("ours", row, precision, vectors=n) for n in dict.fromkeys(steps) for precision in both]
        return [peer, *ours, Contender("ours", row, "bfloat16", cached=True, vectors=steps[-1])]
    if row == COMPILED:
        return [peer, *(Contender("ours", row, p, cached=True, compiled=c) for p in both for c in (False, True))]
    kept = (False, True) if row == TRAINING else (False,)
    ours = [Contender("ours", row, precision, cached) for precision in both for cached in kept]
    return [peer, Contender("anomalib", row, "bfloat16"), *ours]
