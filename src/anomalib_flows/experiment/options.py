"""Option records of the steps before and after training. They import no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from anomalib_flows.core.conformal import require_rate
from anomalib_flows.core.errors import require
from anomalib_flows.core.images import MAX_MEGAPIXELS
from anomalib_flows.core.types import Protocol
from anomalib_flows.run.component import Component
from anomalib_flows.run.options import AugmentOptions, ImageOptions, LoaderOptions, require_megapixels

Device = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True, kw_only=True)
class CheckOptions:
    """How a dataset is checked before training.

    Args:
        data: Name of the dataset and its arguments, instead of a folder.
        image: Size of the images that a model is to be trained with.
        max_megapixels: Limit of an image's pixels, in millions, as ``loader.max_megapixels`` of a training.
        output: Folder for the sheet, OUTPUT/check/DATASET/CATEGORY.jpg.
    """

    data: Component | None = None
    image: ImageOptions = field(default_factory=ImageOptions)
    max_megapixels: float = MAX_MEGAPIXELS
    output: Path = Path("results")

    def __post_init__(self) -> None:
        require_megapixels("max_megapixels", self.max_megapixels)


@dataclass(frozen=True, kw_only=True)
class TestOptions:
    """How a trained detector is tested.

    Args:
        data: Name of the dataset and its arguments; by default that of the run.
        loader: How images are read; by default as in training.
        device: Device of the computation.
        protocol: ``paper`` sets constants and thresholds on the test images, for comparison with published results
            only; the stored model stays as it is.
        disturb: Random changes of the images for a second test, reported beside the first.
        seed: Determines how each image is changed.
        pictures: Limit of the test images that a figure is drawn of; 0 for none. If there are more, half of the
            figures show anomalous images where possible, evenly spaced in the order of the files. By default as in
            training.
        output: Folder for the results; by default the run. An exported model needs one.

    Raises:
        InputError: If a value is invalid.
    """

    __test__ = False  # pytest would collect the class

    data: Component | None = None
    loader: LoaderOptions | None = None
    device: Device = "auto"
    protocol: Protocol = "calibrated"
    disturb: AugmentOptions = field(default_factory=AugmentOptions)
    seed: int = 0
    pictures: int | None = None
    output: Path | None = None

    def __post_init__(self) -> None:
        require(self.seed >= 0, "seed", self.seed, "at least 0")
        require(self.pictures is None or self.pictures >= 0, "pictures", self.pictures, "at least 0; 0 draws none")


@dataclass(frozen=True, kw_only=True)
class PredictOptions:
    """What is predicted, and where the predictions go.

    Args:
        input: Image, folder of images (with sub-folders), or pattern such as ``photos/**/*.png``; for an exported
            model also a video.
        output: New folder for predictions.csv and the folders heatmap, overlay and mask; sub-folders are kept.
        loader: How images are read; by default as in training.
        device: Device of the computation: ``auto``, ``cpu`` or ``cuda``; for an exported model ``auto``, ``CPU``,
            ``GPU`` or ``NPU``.
    """

    input: str
    output: Path
    loader: LoaderOptions | None = None
    device: str = "auto"


@dataclass(frozen=True, kw_only=True)
class CalibrateOptions:
    """How thresholds are set.

    Args:
        false_alarm_rate: Share of normal images that may be called anomalous; by default that of the run.
        images: Folder of normal images to calibrate with, such as new ones from the production line. None of them may
            have been trained on. By default the calibration images of the run, whose scores the model keeps.
        loader: How images are read; by default as in training.
        device: Device of the computation.

    Raises:
        InputError: If the rate is not between 0 and 1.
    """

    false_alarm_rate: float | None = None
    images: Path | None = None
    loader: LoaderOptions | None = None
    device: Device = "auto"

    def __post_init__(self) -> None:
        if self.false_alarm_rate is not None:
            require_rate(self.false_alarm_rate)
