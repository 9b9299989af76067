"""``anomalib-flows calibrate``: thresholds for another false-alarm rate or from other images, without retraining."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.images import image_files
from anomalib_flows.core.types import Sample
from anomalib_flows.data.checks.checking import check
from anomalib_flows.data.datasets.base import Dataset
from anomalib_flows.data.splits.splits import read_splits, write_splits
from anomalib_flows.run.directory import Run


def calibrate(
    run: Path,
    data: Dataset,
    false_alarm_rate: float = 0.01,
    images: Path | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
) -> Run:
    """Set the thresholds of a trained detector for a rate of false alarms, and its constants where images are given.

    Args:
        run: Run directory that 'train' wrote.
        data: The run's dataset; only its options for reading images are used.
        false_alarm_rate: Share of normal images that may be called anomalous.
        images: Folder of normal images to calibrate with, none of them trained on, such as new ones from the
            line. By default the scores of the run's own calibration images, which the model keeps.
        device: Where to compute.

    Raises:
        InputError: If the run is none, the rate is no rate, or there are no images.
    """
    # Importing torch takes seconds, which --help and mistakes have no use for.
    from anomalib_flows.inference.calibration import set_thresholds
    from anomalib_flows.inference.predictor import calibrate_on, choose_device, fit_local_scale
    from anomalib_flows.models import checkpoint

    opened = Run.open(run)
    pipeline = checkpoint.load(opened.model_file)
    if images or not pipeline.postprocess.calibrated or pipeline.protocol == "paper":
        samples = check(calibration_samples(opened, images), data.on_error)
        trained = [s for s in read_splits(opened.splits_file) if s.split == "train" and s.path.is_file()]
        if not pipeline.postprocess.calibrated and trained:  # training was stopped before its end
            fit_local_scale(pipeline, trained, data, choose_device(device))
        calibrate_on(pipeline, samples, data, choose_device(device), false_alarm_rate)
        record(samples, opened)
    else:
        set_thresholds(pipeline.postprocess, false_alarm_rate)
    checkpoint.save(pipeline, opened.model_file)
    opened.write_config(opened.config() | {"false_alarm_rate": false_alarm_rate})
    threshold = float(pipeline.postprocess.image_threshold)
    count = len(pipeline.postprocess.calibration_scores)
    if opened.metrics():
        print("The run's figures are those of its former threshold: 'anomalib-flows test' makes them anew.")
    aim = f"for a false-alarm rate of {max(false_alarm_rate, 1 / (count + 1)):.2g}"
    print(f"Threshold {threshold:.6g}, {aim}, from the scores of normal images, {count} in number.")
    return opened


def record(samples: list[Sample], run: Run) -> None:
    """Write down which images calibrate now, so that 'test' leaves them out."""
    chosen = {s.path.absolute() for s in samples}
    others = [s for s in read_splits(run.splits_file) if s.split != "calibration" and s.path not in chosen]
    write_splits([*others, *samples], run.splits_file)


def calibration_samples(run: Run, images: Path | None) -> list[Sample]:
    """List the images of a folder, or those that the run held out."""
    if images is None:
        held_out = [s for s in read_splits(run.splits_file) if s.split == "calibration"]
        if not held_out:
            raise InputError(f"The run {run.path} holds out no images: name a folder of normal ones with --images.")
        return held_out
    found = [Sample(path, "calibration") for path in image_files(images, recursive=True)]
    if not found:
        raise InputError(f"--images {images} holds no images: name a folder of normal images.")
    trained = {s.path for s in read_splits(run.splits_file) if s.split == "train"}
    if known := [s.path for s in found if s.path.absolute() in trained]:
        raise InputError(
            f"--images {images} holds {len(known)} images that the detector was trained on, such as {known[0]}: "
            "they look more normal to it than new ones; name a folder of others."
        )
    return found
