"""Options of the library functions that work on a run. They import no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from anomalib_flows.core.types import Protocol
from anomalib_flows.run.component import Component
from anomalib_flows.run.options import AugmentOptions, LoaderOptions

Device = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True, kw_only=True)
class TestOptions:
    """How a trained detector is tested.

    Args:
        data: Dataset to test on; by default the run's own.
        loader: How images are read; by default as in training.
        device: Device to compute on.
        protocol: ``paper`` sets constants and thresholds on the test images, for comparison with published results
            only; the model itself stays as it is.
        disturb: Random changes of the images for a second test. Its metrics are listed beside those of the first.
        seed: Determines how each image is disturbed.
        pictures: Limit of the test images that a figure is drawn of; 0 for none. If there are more, half of the
            figures show anomalous images where possible, evenly spaced in the order of the files. By default as in
            training.
        output: Folder of the results of an exported model; the results of a run go into the run.
    """

    data: Component | None = None
    loader: LoaderOptions | None = None
    device: Device = "auto"
    protocol: Protocol = "calibrated"
    disturb: AugmentOptions = field(default_factory=AugmentOptions)
    seed: int = 0
    pictures: int | None = None
    output: Path | None = None


@dataclass(frozen=True, kw_only=True)
class PredictOptions:
    """Which images are predicted, and where the results go.

    Args:
        input: Image, folder of images (with sub-folders), or pattern such as 'photos/**/*.png'; for an exported model
            also a video.
        output: New folder of predictions.csv and of the folders heatmap, overlay and mask; sub-folders are kept.
        loader: How images are read; by default as in training.
        device: Device to compute on: auto, cpu or cuda; for an exported model auto, CPU, GPU or NPU.
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
        images: Folder of normal images to calibrate with, none of them trained on, such as new ones from the line. By
            default the scores of the run's own calibration images, which the model keeps.
        loader: How images are read; by default as in training.
        device: Device to compute on.
    """

    false_alarm_rate: float | None = None
    images: Path | None = None
    loader: LoaderOptions | None = None
    device: Device = "auto"
