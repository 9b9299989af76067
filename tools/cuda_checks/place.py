"""Where checks run: the device, sizes, drawn photos, and folders."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

PRECISIONS = {"32": "float32", "bf16-mixed": "bfloat16", "16-mixed": "float16"}
"""Precisions of training, with the type that each computes in."""
CATEGORY, DEFECT = "fabric", "stain"


@dataclass(frozen=True)
class Scale:
    """Sizes of the checks.

    Args:
        backbone: Encoder of the checks that measure no speed.
        measured: Encoders whose speed is measured.
        size: Height and width of the images.
        options: Further options of ``train``.
        good: Photos of good products to train and calibrate on; a third as many are tested, and as many with a defect.
        batch: Images of a training step where speed is measured.
        epochs: Length of a training.
        seconds: Duration of each measurement.
        side: Rows of the square matrices whose product gives the matrix rate.
    """

    backbone: str
    measured: tuple[str, ...]
    size: int
    options: tuple[str, ...]
    good: int
    batch: int
    epochs: int
    seconds: float
    side: int


TINY = Scale("test_efficientnet", ("test_resnet",), 64, ("--model.steps=2",), 9, 3, 2, 0.05, 128)
FULL = Scale("tf_efficientnet_lite0", ("resnet18", "wide_resnet50_2"), 256, (), 48, 32, 8, 2.0, 8192)


@dataclass(frozen=True)
class Place:
    """A device, and a folder for all files.

    Args:
        device: ``cuda`` or ``cpu``.
        folder: Folder of the photos, runs, logs and results.
        anomalib: Folder with an unpacked anomalib, whose models are measured beside ours; empty for none.
    """

    device: str
    folder: Path
    anomalib: str = ""

    @property
    def scale(self) -> Scale:
        """Sizes: real ones on a GPU, tiny ones on a CPU."""
        return FULL if self.device == "cuda" else TINY

    @property
    def photos(self) -> Path:
        """Folder of the drawn photos, in MVTec AD's layout."""
        return self.folder / "photos"

    def draw(self) -> None:
        """Draw the photos."""
        from anomalib_flows.data.datasets.synthetic import write_image

        few = self.scale.good // 3
        plan = [("train", "good", self.scale.good), ("test", "good", few), ("test", DEFECT, few)]
        for split, defect, count in plan:
            for number in range(count):
                write_image(self.photos / CATEGORY, CATEGORY, split, defect, number)

    def detector(self, model: str, backbone: str = "", **options: Any) -> Any:
        """Make a model with random weights, the same at each call."""
        import torch

        from anomalib_flows.core import registry

        torch.manual_seed(0)
        size = (self.scale.size, self.scale.size)
        given = {} if self.device == "cuda" else {"steps": 2}
        made: Any = registry.load("models", model)
        return made(size, backbone or self.scale.backbone, weights="random", **given | options)


def models() -> list[str]:
    """Return the names of all registered models."""
    from anomalib_flows.core import registry

    return registry.names("models")


def synchronize(device: str) -> None:
    """Wait until a GPU has done what it was given."""
    import torch

    if device == "cuda":
        torch.cuda.synchronize()


def demand(condition: bool, otherwise: str) -> None:
    """Raise an AssertionError with a message unless a condition holds."""
    if not condition:
        raise AssertionError(otherwise)
