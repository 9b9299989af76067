"""The part of ``predict`` that judges with an exported model."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from tqdm import tqdm

from anomalib_flows.commands.judging import Judged, find_samples
from anomalib_flows.conformal import warn_if_too_few
from anomalib_flows.images import Pixels, read_pixels
from anomalib_flows.runtime import Detector, frames
from anomalib_flows.runtime.sources import is_video

Named = tuple[Path, Path, Pixels]
"""What the table calls an image, what its pictures are called, and the image."""


def judge(model: Path, input: Path, on_error: Literal["stop", "skip"], device: str) -> Iterator[Judged]:
    """Judge images, or the frames of a video.

    Raises:
        InputError: If the model cannot be used, or there are no images.
    """
    detector = Detector(model, device)
    warn_of_thresholds(detector, model)
    waiting: deque[Named] = deque()
    images = of_video(input) if is_video(input) else of_files(input, on_error)

    def taken() -> Iterator[Pixels]:
        for image in images:
            waiting.append(image)
            yield image[-1]

    for said in detector.stream(taken()):
        path, name, pixels = waiting.popleft()
        row = said.raw_score, said.p_value, said.label
        yield Judged(path, name, pixels, said.anomaly_map, said.mask, *row)


def of_files(input: Path, on_error: Literal["stop", "skip"]) -> Iterator[Named]:
    """Read images that are files."""
    samples, names = find_samples(input, on_error)
    with tqdm(total=len(samples), desc="Predicting", unit="image", delay=1, leave=False) as progress:
        for sample, name in zip(samples, names, strict=True):
            yield sample.path, name, read_pixels(sample.path)
            progress.update()


def of_video(video: Path) -> Iterator[Named]:
    """Read the frames of a video, which are called NAME-000001 and so on."""
    for frame, pixels in tqdm(frames(video), "Predicting", unit="frame", delay=1, leave=False):
        yield Path(frame), Path(f"{Path(frame).name}.png"), pixels


def warn_of_thresholds(detector: Detector, model: Path) -> None:
    """Warn of thresholds that are not for use, or that do not have the rate that was asked for."""
    card = detector.card
    if card.protocol == "paper":
        warnings.warn(
            f"The thresholds of {model} were chosen on test images (--protocol paper): for use, set them by "
            "'anomalib-flows calibrate' in the run, and export it anew.",
            UserWarning,
            stacklevel=2,
        )
    else:
        warn_if_too_few(len(card.calibration_scores), card.false_alarm_rate)
