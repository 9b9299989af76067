"""Set thresholds for a false-alarm rate, by hand or by known defects, without training again."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from anomalib_flows.core.commit import together
from anomalib_flows.core.errors import InputError
from anomalib_flows.core.types import Sample, ThresholdSource
from anomalib_flows.data.checks.checking import check
from anomalib_flows.data.listing import find_photos
from anomalib_flows.data.splits import known_to, read_splits, select, without, write_splits
from anomalib_flows.experiment.defects import find_defects, set_by_defects
from anomalib_flows.experiment.options import CalibrateOptions
from anomalib_flows.inference.fitting import (
    calibrate_pipeline,
    fit_local_scale,
    places,
    set_pixel_threshold,
    set_thresholds,
)
from anomalib_flows.inference.runner import PipelineRunner, choose_device
from anomalib_flows.models.checkpoint import load_pipeline, save_pipeline
from anomalib_flows.models.pipeline import Pipeline
from anomalib_flows.run.config import TrainConfig
from anomalib_flows.run.decision import ThresholdRule
from anomalib_flows.run.directory import Run

logger = logging.getLogger(__name__)


def calibrate(run: Path, options: CalibrateOptions, *, trust: bool = False) -> Pipeline:
    """Set the thresholds of a trained detector, and its constants if images are given.

    Unless one is set by hand or by defects, both thresholds become those of the false-alarm rate.

    Args:
        run: Run directory.
        options: False-alarm rate, images, and thresholds by hand or by defects.
        trust: Whether to import a class that the run names and no installed package registers.

    Returns:
        The calibrated pipeline, as it was saved.

    Raises:
        InputError: If the run or an option is invalid, or there are no images.
    """
    opened = Run.open(run, trust=trust)
    with opened.alone():
        return calibrate_run(opened, options)


def calibrate_run(opened: Run, options: CalibrateOptions) -> Pipeline:
    """Calibrate a run that no other command writes to; model, configuration and splits are replaced at once."""
    config = rated(opened.config(), options)
    defects = find_defects(opened, options.defects) if options.defects else []
    good = find_normal(opened, options.images) if options.images else []
    require_apart(defects, good)
    pipeline = load_pipeline(opened.model_file, trust=opened.trust)
    runner = PipelineRunner(pipeline, choose_device(options.device), options.loader or config.loader)
    splits = set_by_normal(opened, runner, options, config, good)
    if defects:
        defects = set_by_defects(runner, defects, options.max_missed or 0)
    threshold, pixel_threshold = places(pipeline, config.false_alarm_rate, config.decision.mask_area)
    recorded = with_defects(splits, defects, pipeline.threshold_source)
    with together(opened.path) as folder:
        made = Run(folder)
        save_pipeline(pipeline, made.model_file)
        made.write_config(replace(config, threshold=threshold, pixel_threshold=pixel_threshold))
        if recorded != known_splits(opened):
            write_splits(recorded, made.splits_file)
    return pipeline


def require_apart(defects: list[Sample], good: list[Sample]) -> None:
    """Raise an InputError if a photo is given as a good one and as a defect."""
    if shared := len(defects) - len(without(defects, good)):
        raise InputError(f"`defects` has {shared} photos that are also among `images`: give each in one of them.")


def rated(config: TrainConfig, options: CalibrateOptions) -> TrainConfig:
    """Return the configuration with the rate and masks of the options; another rate excludes thresholds by hand."""
    rate = config.false_alarm_rate if options.false_alarm_rate is None else options.false_alarm_rate
    if rate != config.false_alarm_rate and options.by_hand:
        raise InputError(
            f"`{options.by_hand[0]}` and another `false_alarm_rate` both set thresholds: give one of them."
        )
    return replace(config, false_alarm_rate=rate, decision=options.decision or config.decision)


def set_by_normal(
    run: Run, runner: PipelineRunner, options: CalibrateOptions, config: TrainConfig, good: list[Sample]
) -> list[Sample]:
    """Set thresholds for a rate or by hand, from good images if there are any; return the splits of all images."""
    pipeline, rate, area = runner.pipeline, config.false_alarm_rate, config.decision.mask_area
    rule = ThresholdRule(options.image_place, options.pixel_threshold, area)
    if good or not pipeline.postprocess.calibrated or pipeline.protocol == "paper":
        return calibrate_on_images(run, runner, good or held_out(run), rate, rule)
    if rule.image is None and rule.pixel is None:
        set_thresholds(pipeline.postprocess, rate, rule)
        pipeline.threshold_source = "false-alarm-rate"
    else:
        move_thresholds(run, pipeline, rule, rate)
    return known_splits(run)


def known_splits(run: Run) -> list[Sample]:
    """Return the splits of all images; none if their record was removed, as a rate does not need it."""
    return read_splits(run.splits_file) if run.splits_file.is_file() else []


def move_thresholds(run: Run, pipeline: Pipeline, rule: ThresholdRule, rate: float) -> None:
    """Move thresholds by hand from where they are; with another area the pixel threshold starts from that one's."""
    if rule.mask_area != run.config().decision.mask_area:
        set_pixel_threshold(pipeline.postprocess, rate, rule.mask_area)
    pipeline.postprocess.move_thresholds(rule.image, rule.pixel)
    if rule.image is not None:
        pipeline.threshold_source = "hand"


def calibrate_on_images(
    run: Run, runner: PipelineRunner, good: list[Sample], false_alarm_rate: float, rule: ThresholdRule
) -> list[Sample]:
    """Set constants and thresholds from good images; return the splits of all images."""
    samples = check(good, runner.loader.on_error, runner.loader.max_megapixels)
    listed = read_splits(run.splits_file)
    trained = [s for s in select(listed, "train") if s.path.is_file()]
    if not runner.pipeline.postprocess.calibrated and trained:  # the training was interrupted
        fit_local_scale(runner, trained)
    calibrate_pipeline(runner, samples, false_alarm_rate, rule)
    # Recorded, so that tests leave them out.
    others = [s for s in listed if s.split != "calibration"]
    left = without(others, samples)
    if taken := len(select(others, "test")) - len(select(left, "test")):
        logger.info("%d test images of the run set its thresholds now: tests leave them out.", taken)
    return [*left, *samples]


def with_defects(splits: list[Sample], defects: list[Sample], source: ThresholdSource) -> list[Sample]:
    """Record the defects that the threshold depends on, so that tests leave them out."""
    kept = not defects and source != "false-alarm-rate"  # moved by hand, from where defects put it
    return [*without([s for s in splits if kept or s.split != "threshold"], defects), *defects]


def held_out(run: Run) -> list[Sample]:
    """List the calibration images of a run."""
    found = select(read_splits(run.splits_file), "calibration")
    if not found:
        raise InputError(f"The run {run.path} holds out no images: name a folder of normal ones as `images`.")
    return found


def find_normal(run: Run, images: Path) -> list[Sample]:
    """List the images of a folder of good ones; none of them may have been trained on."""
    source = find_photos("images", images, good=True)
    found = [Sample(path.absolute(), "calibration") for path in source.images]
    if known := known_to(run.splits_file, found, lambda s: s.split == "train"):
        raise InputError(
            f"`images` {images} holds {len(known)} images that the detector was trained on, such as {known[0].path}, "
            "here or as copies: it scores these lower than new ones; name a folder of other images."
        )
    return found
