"""Set thresholds for another false-alarm rate, or from other images, without training again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.finding import list_images
from anomalib_flows.core.types import Sample
from anomalib_flows.data.checks.checking import check
from anomalib_flows.data.splits import known_to, read_splits, select, write_splits
from anomalib_flows.experiment.options import CalibrateOptions
from anomalib_flows.inference.fitting import calibrate_pipeline, fit_local_scale, set_thresholds
from anomalib_flows.inference.runner import PipelineRunner, choose_device
from anomalib_flows.models.checkpoint import load_pipeline, save_pipeline
from anomalib_flows.models.pipeline import Pipeline
from anomalib_flows.run.directory import Run


def calibrate(run: Path, options: CalibrateOptions) -> Pipeline:
    """Set the thresholds of a trained detector, and its constants if images are given.

    Args:
        run: Run directory.
        options: False-alarm rate and images.

    Returns:
        The calibrated pipeline, as it was saved.

    Raises:
        InputError: If the run or the rate is invalid, or there are no images.
    """
    opened = Run.open(run)
    config = opened.config()
    rate = config.false_alarm_rate if options.false_alarm_rate is None else options.false_alarm_rate
    updated = replace(config, false_alarm_rate=rate)  # checks the rate
    pipeline = load_pipeline(opened.model_file)
    if options.images or not pipeline.postprocess.calibrated or pipeline.protocol == "paper":
        runner = PipelineRunner(pipeline, choose_device(options.device), options.loader or config.loader)
        calibrate_on_images(opened, runner, options.images, rate)
    else:
        set_thresholds(pipeline.postprocess, rate)
    save_pipeline(pipeline, opened.model_file)
    opened.write_config(updated)
    return pipeline


def calibrate_on_images(run: Run, runner: PipelineRunner, images: Path | None, false_alarm_rate: float) -> None:
    """Set constants and thresholds from a folder of images, or from those that the run holds out."""
    samples = check(calibration_samples(run, images), runner.loader.on_error, runner.loader.max_megapixels)
    listed = read_splits(run.splits_file)
    trained = [s for s in select(listed, "train") if s.path.is_file()]
    if not runner.pipeline.postprocess.calibrated and trained:  # the training was interrupted
        fit_local_scale(runner, trained)
    calibrate_pipeline(runner, samples, false_alarm_rate)
    chosen = {s.path.absolute() for s in samples}  # recorded, so that tests leave them out
    others = [s for s in listed if s.split != "calibration" and s.path not in chosen]
    write_splits([*others, *samples], run.splits_file)


def calibration_samples(run: Run, images: Path | None) -> list[Sample]:
    """List the images of a folder, or those that the run holds out; none of them may have been trained on."""
    listed = read_splits(run.splits_file)
    if images is None:
        held_out = select(listed, "calibration")
        if not held_out:
            raise InputError(f"The run {run.path} holds out no images: name a folder of normal ones as `images`.")
        return held_out
    found = [Sample(path, "calibration") for path in list_images(images)]
    if not found:
        raise InputError(f"`images` {images} holds no images: name a folder of normal images.")
    if known := known_to(run.splits_file, found, ("train",)):
        raise InputError(
            f"`images` {images} holds {len(known)} images that the detector was trained on, such as {known[0].path}, "
            "here or as copies: it "
            "scores these lower than new ones; name a folder of other images."
        )
    return found
