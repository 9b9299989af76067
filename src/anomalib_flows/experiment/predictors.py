"""Where predictions come from: the model of a run, or an exported model, and photos or a video."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from anomalib_flows.core.conformal import UNPROMISED, warn_if_too_few
from anomalib_flows.core.errors import InputError, NotExportedError, require
from anomalib_flows.core.finding import VIDEO_SUFFIXES, split_pattern
from anomalib_flows.core.store import digest_of
from anomalib_flows.core.types import ImageResult, Sample, ThresholdSource
from anomalib_flows.data.checks.scale import InputScale
from anomalib_flows.data.listing import find_source
from anomalib_flows.experiment.facts import about_card, about_pipeline
from anomalib_flows.experiment.options import PredictOptions
from anomalib_flows.results.pictures import relative, unique_names
from anomalib_flows.results.progress import digest_of_images
from anomalib_flows.results.table import safe_path
from anomalib_flows.run.directory import Run
from anomalib_flows.run.options import LoaderOptions

if TYPE_CHECKING:
    from anomalib_flows.runtime.model_card import ModelCard

logger = logging.getLogger(__name__)


class Predictions(NamedTuple):
    """How to predict.

    Args:
        results: Function that returns the results of the images after one, whose path is as in the table; of all after
            an empty path.
        name: Function that names an image's pictures.
        scale: How far the model scales photos down.
        about: Facts about the model.
        record: Digests of model and images.
    """

    results: Callable[[str], Iterator[ImageResult]]
    name: Callable[[ImageResult], Path]
    scale: InputScale
    about: dict[str, Any]
    record: dict[str, Any]


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
    photos = find_photos(options)

    def results(last: str) -> Iterator[ImageResult]:
        yield from runner.predict(photos.samples, done=photos.done(last))
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
    return Predictions(results, photos.name, scale, about, photos.record | {"model": digest_of(run.model_file)})


def predict_exported(model: Path, options: PredictOptions) -> Predictions:
    """Predict with an exported model; its input may be a video."""
    from anomalib_flows.inference.exported import ExportedPredictor  # OpenVINO is an optional extra
    from anomalib_flows.runtime.digest import identity
    from anomalib_flows.runtime.frames import is_video

    predictor = ExportedPredictor(model, options.loader or LoaderOptions(), options.device)
    warn_of_thresholds(predictor.card, model)
    scale = InputScale(predictor.card.image_size, predictor.card.resize)
    about = {
        **about_card(model, predictor.card),
        "image_scale": predictor.thresholds.image_scale,
        "map_scale": {"typical": 0.0, "threshold": predictor.thresholds.pixel},  # its maps are normalised
    }
    digests = {"model": identity(model)}
    if is_video(video := Path(options.input)):
        if options.set_apart or options.shard:
            raise InputError(f"`input` {video} is a video: leave out `set_apart` and `shard`, or give its frames.")
        record = digests | {"images": digest_of_images([video])}
        return Predictions(partial(predictor.predict_video, video), frame_name, scale, about, record)
    photos = find_photos(options)

    def results(last: str) -> Iterator[ImageResult]:
        return predictor.predict(photos.samples, photos.done(last))

    return Predictions(results, photos.name, scale, about, photos.record | digests)


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


class Photos(NamedTuple):
    """Photos to predict, and the names of their pictures.

    Args:
        samples: The photos, in natural order.
        names: Relative path of the pictures of each photo.
        record: Digest of paths, sizes and times of all photos, also of those in other shards.
    """

    samples: list[Sample]
    names: dict[Path, Path]
    record: dict[str, str]

    def name(self, result: ImageResult) -> Path:
        """Name the pictures of a photo."""
        return self.names[result.sample.path if result.sample else Path()]

    def done(self, last: str) -> int:
        """Return the number of photos up to the one that the table has last; 0 for an empty path."""
        paths = (safe_path(sample.path) for sample in self.samples)
        return next(number for number, path in enumerate(paths, 1) if path == last) if last else 0


def find_photos(options: PredictOptions) -> Photos:
    """List the images that a file, folder or pattern names, or one part of them."""
    path = Path(options.input)
    if path.is_file():
        base, images = path.parent, [path]
    elif not path.is_dir() and not split_pattern(path)[1]:
        raise InputError(f"`input` {path} does not exist: give an image, a folder or a pattern like 'photos/*.png'.")
    else:
        source = find_source("input", path)
        base, images = source.base, source.images
    names = unique_names([relative(image, base) for image in images], ".png")
    number, parts = options.part
    first, end = (len(images) * place // parts for place in (number - 1, number))
    if first == end:
        raise InputError(f"`shard` {options.shard} has no images, as there are {len(images)}: name fewer parts.")
    record = {"images": digest_of_images(images)}
    return Photos([Sample(image, "test") for image in images[first:end]], dict(zip(images, names, strict=True)), record)


def frame_name(result: ImageResult) -> Path:
    """Name the pictures of a frame of a video."""
    return Path(f"{result.sample.path.name}.png" if result.sample else "frame.png")
