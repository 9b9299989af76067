"""Plain records that every part of the package passes around, and the one error a user can mend."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

Split = Literal["train", "calibration", "validation", "test"]
Protocol = Literal["calibrated", "paper"]
"""``calibrated`` sets a model's constants and thresholds on held-out normal images; ``paper`` as published, on the
test images, for comparison with published tables only."""
Interface = Literal["native", "model-api", "model-api-map", "anomalib"]
"""Who reads an exported graph: our runtime; OpenVINO Model API in Python; its C++ side, for raw maps; anomalib."""
Precision = Literal["fp32", "fp16", "int8"]
"""Of the weights of an exported model."""
ImageSize = tuple[int, int]
"""Height and width in pixels."""

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NO_RIGHT = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR)
"""Errors of the system that the command line explains; any other one is a fault of ours."""

NORMAL, ANOMALOUS = 0, 1
GOOD = "good"
"""What stands in the place of a kind of defect where there is none."""


class InputError(ValueError):
    """What the user gave cannot be used.

    The message is one sentence that names the file or option, says what was wrong and what to do. The
    command line prints it without a traceback and exits with code 2.
    """


def require(condition: bool, option: str, value: object, limit: str) -> None:
    """Go on only if the value of an option is of use.

    Raises:
        InputError: If it is not, with the option and what it must be.
    """
    if not condition:
        raise InputError(f"{option} cannot be {value}: it must be {limit}.")


def first_line(error: Exception) -> str:
    """First line of what a library says is wrong; what follows is for those who develop with it."""
    return next(iter(str(error).splitlines()), type(error).__name__)


@dataclass(frozen=True)
class Sample:
    """One image of a dataset and what is known about it.

    Args:
        path: The image file.
        split: What the image is used for.
        label: 0 for a normal image, 1 for an anomalous one.
        defect: The kind of defect, ``"good"`` for normal images.
        mask: The file of the defect's mask, or a folder of several that are united; None if it is not known.
    """

    path: Path
    split: Split
    label: int = NORMAL
    defect: str = GOOD
    mask: Path | None = None


@dataclass
class Batch:
    """Images of one size with their samples and masks.

    Args:
        images: RGB values from 0 to 255, resized, of shape (B, 3, H, W) and type float32.
        samples: The B records that the images were read from.
        masks: For each image a boolean tensor of shape (H, W), or None where only the label is known.
        contents: For each image the height and width of its own pixels in (H, W); the rest is padding.
    """

    images: Tensor
    samples: list[Sample]
    masks: list[Tensor | None]
    contents: list[ImageSize]


@dataclass
class Prediction:
    """What a detector says about B images.

    Args:
        scores: Raw image scores of shape (B,); higher is more anomalous.
        labels: 1 where the score lies above the image threshold, of shape (B,).
        p_values: Share of normal images that score at least as high, of shape (B,).
        maps: Raw anomaly maps of shape (B, 1, H, W).
        masks: True where the map lies above the pixel threshold, of shape (B, 1, H, W).
    """

    scores: Tensor
    labels: Tensor
    p_values: Tensor
    maps: Tensor
    masks: Tensor
