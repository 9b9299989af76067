"""The part of ``predict`` that judges with an exported model."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from itertools import tee
from pathlib import Path
from typing import Literal, NamedTuple

from tqdm import tqdm

from anomalib_flows.commands.judging import Judged, find_samples
from anomalib_flows.core.conformal import warn_if_too_few
from anomalib_flows.core.errors import InputError
from anomalib_flows.core.images import Pixels, read_pixels
from anomalib_flows.data.checks.checking import report_faults
from anomalib_flows.runtime import Detector, frames
from anomalib_flows.runtime.ports import ImageInput
from anomalib_flows.runtime.sources import is_video


class Picture(NamedTuple):
    """An image to judge.

    Args:
        path: What the table calls it.
        name: What its pictures are called.
        pixels: The image.
    """

    path: Path
    name: Path
    pixels: Pixels


LeaveOut = Callable[[InputError], None]
"""Told what is wrong with an image that is left out, unless that stops all."""


def judge(model: Path, input: Path, on_error: Literal["stop", "skip"], device: str) -> Iterator[Judged]:
    """Judge images, or the frames of a video.

    Raises:
        InputError: If the model cannot be used, there are no images, or one cannot be judged and ``on_error`` is
            ``stop``.
    """
    detector = Detector(model, device)
    warn_of_thresholds(detector, model)
    faults: list[str] = []

    def leave_out(fault: InputError) -> None:
        faults.append(str(fault))
        if on_error == "stop":
            report_faults(faults, on_error)

    found = of_video(input, leave_out) if is_video(input) else of_files(input, on_error, leave_out)
    ahead, pictures = tee(fitting(found, detector.input, leave_out))
    judged = 0
    for prediction, picture in zip(detector.stream(one.pixels for one in ahead), pictures, strict=True):
        row = prediction.raw_score, prediction.p_value, prediction.label
        yield Judged(*picture, prediction.anomaly_map, prediction.mask, *row)
        judged += 1
    if faults and not judged:
        raise InputError(f"None of {len(faults)} images can be judged. {faults[0]}")
    if faults:
        report_faults(faults, on_error)


def of_files(input: Path, on_error: Literal["stop", "skip"], leave_out: LeaveOut) -> Iterator[Picture]:
    """Read images that are files."""
    samples, names = find_samples(input, on_error)
    with tqdm(total=len(samples), desc="Predicting", unit="image", delay=1, leave=False) as progress:
        for sample, name in zip(samples, names, strict=True):
            try:
                pixels = read_pixels(sample.path)
            except InputError as fault:
                leave_out(fault)
            else:
                yield Picture(sample.path, name, pixels)
            progress.update()


def of_video(video: Path, leave_out: LeaveOut) -> Iterator[Picture]:
    """Read the frames of a video, which are called NAME-000001 and so on."""
    for frame, pixels in tqdm(frames(video, leave_out), "Predicting", unit="frame", delay=1, leave=False):
        yield Picture(Path(frame), Path(f"{Path(frame).name}.png"), pixels)


def fitting(pictures: Iterable[Picture], accepted: ImageInput, leave_out: LeaveOut) -> Iterator[Picture]:
    """Leave out images of a size that the model does not take."""
    for picture in pictures:
        try:
            accepted.require_size(picture.pixels.shape[:2], picture.path)
        except InputError as fault:
            leave_out(fault)
        else:
            yield picture


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
