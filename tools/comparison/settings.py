"""What is compared: encoders, sizes, and who does what in which precision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

KERNELS = {"resnet18": (3,), "wide_resnet50_2": (3, 1), "mobilenetv2_100": (3,)}
"""Kernel sizes of FastFlow's steps, in turn."""
STAGES = {"resnet18": (1, 2, 3), "wide_resnet50_2": (2, 3, 4), "mobilenetv2_100": (2, 3, 4)}
"""Stages of the encoder that CFLOW takes: timm's feature maps, which anomalib calls layer1 to layer4."""
TIMM_ARGS: dict[str, dict[str, Any]] = {"mobilenetv2_100": {"pad_type": "same"}}  # weights that TensorFlow trained
INFERENCE, TRAINING, ALL_VECTORS = "inference, batch 1", "training step", "training step on all vectors"
COMPILED = "training step, compiled"
ANOMALIBS_VECTORS = 64
"""Feature vectors in a step of anomalib's CFLOW."""


@dataclass(frozen=True)
class Setting:
    model: str
    backbone: str
    batch: int
    size: int
    threads: int
    weights: str = "random"

    @property
    def vectors_of_smallest_map(self) -> int:
        stride = 2 ** (STAGES[self.backbone][-1] + 1)
        return self.batch * (self.size // stride) ** 2


@dataclass(frozen=True)
class Contender:
    """One implementation, in one precision, at one kind of work.

    Args:
        package: `ours`, `anomalib`, or `products`: bare products of matrices, whose time is the floor of all others.
        work: Whether it trains or infers.
        precision: `float32`, or `bfloat16`: in training and for anomalib under torch.autocast, as Lightning's
            bf16-mixed; in our inference with weights in bfloat16, as `latency --precision bf16`.
        cached: Whether the encoder's features are given.
        vectors: Of CFLOW: feature vectors in a step if all are taken, one feature map after the other; 0 for what
            the implementation does unless told otherwise.
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
    """List those who take turns; anomalib in float32, as it computes unless told otherwise, comes first."""
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
