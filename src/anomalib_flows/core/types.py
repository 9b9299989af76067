"""Records that every package uses, and the size of an image within the network's input."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import Tensor


Split = Literal["train", "calibration", "validation", "threshold", "test"]
"""Use of an image. Those of ``threshold`` are known defects that set the image threshold."""
Protocol = Literal["calibrated", "paper"]
"""``calibrated`` sets constants and thresholds on held-out normal images. ``paper`` sets them on the test images, as
published results do, and serves only for comparison with these."""
ThresholdSource = Literal["false-alarm-rate", "hand", "defects"]
"""What set the image threshold: a false-alarm rate, which is then promised; a value; or photos of known defects."""
Interface = Literal["native", "model-api", "model-api-map", "anomalib"]
"""Program that reads an exported model: our runtime; OpenVINO Model API in Python, or in C++ (raw map); anomalib."""
Precision = Literal["fp32", "fp16", "int8"]
"""Precision of the weights of an exported model."""
AxisOrder = Literal["NHWC", "NCHW"]
"""Order of the axes of an exported model's input: images, height and width, channels."""
PictureKind = Literal["heatmap", "overlay", "mask", "maps"]
"""What is made of each image: pictures, and the map as numbers."""
Pictured = int | Literal["all", "anomalous", "none"]
"""Images that pictures are drawn of; a number N stands for the first N."""
Apart = Literal["link", "copy", "move"]
"""How photos are put apart: by symbolic links, as copies, or themselves."""
ImageSize = tuple[int, int]
"""Height and width in pixels."""

NORMAL, ANOMALOUS = 0, 1
GOOD = "good"
"""Value of ``Sample.defect`` for normal images."""
LABELS = {NORMAL: "normal", ANOMALOUS: "anomalous"}
"""Words for the labels in tables and figures."""


@dataclass(frozen=True)
class Sample:
    """One image of a dataset with its ground truth.

    Args:
        path: Image file.
        split: What the image is used for.
        label: 0 for a normal image, 1 for an anomalous one.
        defect: Kind of defect, ``"good"`` for normal images.
        mask: Mask file of the defect, or a folder of masks to unite; None if unknown.
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
        samples: The B samples.
        masks: For each image a boolean mask of shape (H, W), or None where only the label is known.
        contents: For each image its height and width within (H, W); the rest is padding.
        pictures: For each image the decoded file, RGB of shape (h, w, 3); empty where nobody shows it.
    """

    images: Tensor
    samples: list[Sample]
    masks: list[Tensor | None]
    contents: list[ImageSize]
    pictures: list[npt.NDArray[np.uint8]] = field(default_factory=list)


@dataclass
class Prediction:
    """Predictions of a detector for B images, as tensors.

    Args:
        scores: Raw image scores of shape (B,); higher is more anomalous.
        labels: 1 where the score is above the image threshold, of shape (B,).
        p_values: Share of normal images that score at least as high, of shape (B,).
        maps: Raw anomaly maps of shape (B, M, H, W). The first map is shown, the last one scores the image.
        masks: True where the map is above the pixel threshold, of shape (B, 1, H, W).
    """

    scores: Tensor
    labels: Tensor
    p_values: Tensor
    maps: Tensor
    masks: Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageResult:
    """Prediction for one image, with what is known about the image.

    Args:
        score: Normalised score in [0, 1]; 0.5 is the image threshold.
        label: 1 if the image is anomalous, else 0.
        p_value: Share of normal images that score at least as high, from 1 / (n + 1) to 1.
        raw_score: Score before normalisation; None if an exported model does not return it.
        anomaly_map: Normalised map in [0, 1] of shape (H, W), without padding; 0.5 is the pixel threshold.
        mask: True where the map is above the pixel threshold, of shape (H, W).
        raw_map: Map before normalisation, of shape (H, W); None for exported models.
        picture: The decoded image, RGB of shape (h, w, 3) and type uint8.
        sample: The image file and its ground truth; None for images without a file.
        ground_truth: True where the image is defective, of shape (H, W); None if unknown.
    """

    score: float
    label: int
    p_value: float
    raw_score: float | None
    anomaly_map: npt.NDArray[np.float32]
    mask: npt.NDArray[np.bool_]
    raw_map: npt.NDArray[np.float32] | None = None
    picture: npt.NDArray[np.uint8] | Any = None
    sample: Sample | None = None
    ground_truth: npt.NDArray[np.bool_] | None = None

    @property
    def wrong(self) -> bool:
        """Whether the true label is known and the predicted one differs from it."""
        return self.sample is not None and self.sample.label != self.label


ResizeMode = Literal["stretch", "pad"]


def content_size(height: int, width: int, size: ImageSize, mode: ResizeMode) -> ImageSize:
    """Return the height and width that an image of ``height`` x ``width`` pixels has within ``size``.

    Only integers are multiplied, and each quotient is rounded once, halves to even: an exported graph computes the
    same size.
    """
    if mode == "stretch":
        return size
    if size[0] * width <= size[1] * height:
        return size[0], max(1, round(width * size[0] / height))
    return max(1, round(height * size[1] / width)), size[1]
