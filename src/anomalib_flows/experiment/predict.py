"""Predict new images with the model of a run or with an exported model."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

from anomalib_flows.core.conformal import UNPROMISED, warn_if_too_few
from anomalib_flows.core.errors import InputError, NotExportedError, require
from anomalib_flows.core.finding import VIDEO_SUFFIXES, split_pattern
from anomalib_flows.core.types import ANOMALOUS, ImageResult, PictureKind, Sample, ThresholdSource
from anomalib_flows.data.checks.scale import InputScale, warn_of_scale
from anomalib_flows.data.listing import find_source
from anomalib_flows.experiment.facts import about_card, about_pipeline
from anomalib_flows.experiment.options import PredictOptions
from anomalib_flows.results.pictures import PictureSink, drawing, relative, unique_names
from anomalib_flows.results.sinks import LabelCounter, Sink, SizeCounter, drain, open_table
from anomalib_flows.results.thumbnails import open_thumbnails
from anomalib_flows.run.directory import Run, is_exported
from anomalib_flows.run.options import LoaderOptions

if TYPE_CHECKING:
    from anomalib_flows.runtime.model_card import ModelCard

logger = logging.getLogger(__name__)

PARTS = ("predictions.csv", "prediction.json", "thumbnails.jsonl", "report.html", *get_args(PictureKind))
"""What a folder of predictions holds."""


@dataclass(frozen=True)
class PredictSummary:
    """The table of predictions, the number of anomalous images, and that of all images."""

    table: Path
    anomalous: int
    total: int


class Predictions(NamedTuple):
    """Results, the function that names an image's pictures, how far the model scales photos down, and its facts."""

    results: Iterator[ImageResult]
    name: Callable[[ImageResult], Path]
    scale: InputScale
    about: dict[str, Any]


def predict(model: Path, options: PredictOptions, *, trust: bool = False) -> PredictSummary:
    """Predict images: a table of labels, scores and p-values, and a heatmap, overlay and mask of each image.

    Results that were written before an error or Ctrl-C are kept.

    Args:
        model: Run directory, or exported model (.xml).
        options: Which images, and where the results go.
        trust: Whether to import a class that the run names and no installed package registers.

    Raises:
        InputError: If the model is invalid or not calibrated, there are no images, or ``output`` holds predictions.
    """
    require_new(options.output)
    predicted = predict_exported(model, options) if is_exported(model) else predict_run(model, options, trust)
    results, name, scale, about = predicted
    folder, labels, sizes = Run(options.output), LabelCounter(), SizeCounter()
    first = next(results)  # an error before it leaves no folder behind
    try:
        with (
            open_table(folder.predictions_file, labelled=False, keep=True) as rows,
            drawing() as threads,
            open_thumbnails(folder.thumbnails_file, threads, labelled=False, keep=True) as thumbnails,
        ):
            pictures = PictureSink(threads, options.output, name, options.kinds, options.pictures)
            sinks: list[Sink] = [rows, labels, sizes, pictures, thumbnails]
            drain([first], sinks)
            drain(results, sinks)
        warn_of_scale(sizes.counts, scale)
    except BaseException:
        with suppress(OSError, InputError):  # the first error is the one to raise
            summarise(folder, labels, about)
        raise
    return summarise(folder, labels, about)


def summarise(folder: Run, labels: LabelCounter, about: dict[str, Any]) -> PredictSummary:
    """Say how many images are anomalous, and write the facts and the report of what is in the table."""
    from anomalib_flows.results.report import write_report  # a quarter of a second, which mistakes need not wait for

    anomalous, total = labels.counts[ANOMALOUS], labels.counts.total()
    if total:
        logger.info("Anomalous: %d of %d. Table and pictures: %s", anomalous, total, folder.path)
        folder.write_json(folder.prediction_file.name, about | {"images": total, "anomalous": anomalous})
        write_report(folder.path)
    return PredictSummary(folder.predictions_file, anomalous, total)


def predict_run(model: Path, options: PredictOptions, trust: bool) -> Predictions:
    """Predict with the model of a run."""
    # Torch takes seconds to import, which exported models and mistakes need not wait for.
    from anomalib_flows.inference.runner import PipelineRunner, choose_device
    from anomalib_flows.models.checkpoint import load_calibrated

    if Path(options.input).suffix.lower() in VIDEO_SUFFIXES:
        raise NotExportedError(options.input, model)
    device = options.device.lower()
    require(device in ("auto", "cpu", "cuda"), "device", options.device, "auto, cpu or cuda")
    run = Run.open(model, trust=trust)
    config = run.config()
    runner = PipelineRunner(load_calibrated(run), choose_device(device), options.loader or config.loader)
    samples, names = find_samples(options.input)

    def results() -> Iterator[ImageResult]:
        yield from runner.predict(samples)
        if runner.pipeline.protocol == "calibrated":
            count = runner.pipeline.postprocess.calibration_size
            say_promise(runner.pipeline.threshold_source, count, config.false_alarm_rate)

    scale = InputScale(runner.image.height_width, runner.image.resize)
    about = {
        "model": str(model),
        **about_pipeline(run, runner),
        "image_scale": runner.thresholds.image_scale,
        "map_scale": {"typical": float(runner.pipeline.postprocess.typical), "threshold": runner.thresholds.pixel},
    }
    return Predictions(results(), named(names), scale, about)


def predict_exported(model: Path, options: PredictOptions) -> Predictions:
    """Predict with an exported model; its input may be a video."""
    from anomalib_flows.inference.exported import ExportedPredictor  # OpenVINO is an optional extra
    from anomalib_flows.runtime.frames import is_video

    predictor = ExportedPredictor(model, options.loader or LoaderOptions(), options.device)
    warn_of_thresholds(predictor.card, model)
    scale = InputScale(predictor.card.image_size, predictor.card.resize)
    about = {
        **about_card(model, predictor.card),
        "image_scale": predictor.thresholds.image_scale,
        "map_scale": {"typical": 0.0, "threshold": predictor.thresholds.pixel},  # its maps are normalised
    }
    if is_video(Path(options.input)):
        return Predictions(predictor.predict_video(Path(options.input)), frame_name, scale, about)
    samples, names = find_samples(options.input)
    return Predictions(predictor.predict(samples), named(names), scale, about)


def warn_of_thresholds(card: ModelCard, model: Path) -> None:
    """Warn of thresholds that are not for use, or that do not have the asked-for rate."""
    if card.protocol == "paper":
        warnings.warn(
            f"The thresholds of {model} were set on test images (protocol paper): before use, calibrate the run with "
            "images of its own and export it again.",
            UserWarning,
            stacklevel=2,
        )
    else:
        say_promise(card.threshold_source, len(card.calibration_scores), card.false_alarm_rate)


def say_promise(source: ThresholdSource, count: int, false_alarm_rate: float) -> None:
    """Warn of too few calibration images for the rate of a threshold, or say that it promises none."""
    if source == "false-alarm-rate":
        warn_if_too_few(count, false_alarm_rate)
    else:
        logger.info("Labels: %s.", UNPROMISED[source])


def require_new(output: Path) -> None:
    """Raise an InputError if the output is a file, or a folder that holds predictions."""
    above = next(folder for folder in (output, *output.absolute().parents) if folder.exists())
    if not above.is_dir():
        raise InputError(f"`output` {output} cannot be a folder, as {above} is a file: name another one.")
    if any((output / name).exists() for name in PARTS):
        raise InputError(f"`output` {output} already holds predictions: name another folder.")


def find_samples(given: str) -> tuple[list[Sample], dict[Path, Path]]:
    """List the images that a file, folder or pattern names, and name the pictures of each."""
    path = Path(given)
    if path.is_file():
        base, images = path.parent, [path]
    elif not path.is_dir() and not split_pattern(path)[1]:
        raise InputError(f"`input` {path} does not exist: give an image, a folder or a pattern like 'photos/*.png'.")
    else:
        source = find_source("input", path)
        base, images = source.base, source.images
    names = unique_names([relative(image, base) for image in images], ".png")
    return [Sample(image, "test") for image in images], dict(zip(images, names, strict=True))


def named(names: dict[Path, Path]) -> Callable[[ImageResult], Path]:
    """Return the function that names the pictures of an image."""
    return lambda result: names[result.sample.path if result.sample else Path()]


def frame_name(result: ImageResult) -> Path:
    """Name the pictures of a frame of a video."""
    return Path(f"{result.sample.path.name}.png" if result.sample else "frame.png")
