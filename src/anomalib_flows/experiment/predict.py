"""Predict new images with the model of a run or with an exported model."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from anomalib_flows import __version__
from anomalib_flows.core.errors import InputError
from anomalib_flows.core.finding import split_pattern
from anomalib_flows.core.types import ANOMALOUS, LABELS, ImageResult
from anomalib_flows.data.checks.scale import warn_of_scale
from anomalib_flows.experiment.options import PredictOptions
from anomalib_flows.experiment.predictors import Predictions, predict_exported, predict_run
from anomalib_flows.results.apart import FOLDER, PLACE, set_apart
from anomalib_flows.results.drawing import drawing
from anomalib_flows.results.parquet import pyarrow, write_parquet
from anomalib_flows.results.pictures import PictureSink
from anomalib_flows.results.progress import Progress, all_predicted, begun, require_usable
from anomalib_flows.results.sinks import SizeCounter, drain
from anomalib_flows.results.table import COLUMNS, TableSink, read_rows, safe_path
from anomalib_flows.results.thumbnails import ThumbnailSink
from anomalib_flows.run.directory import Run, is_exported

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PredictSummary:
    """The table of predictions, the number of anomalous images, and that of all images."""

    table: Path
    anomalous: int
    total: int


def predict(model: Path, options: PredictOptions, *, trust: bool = False, resume: bool = False) -> PredictSummary:
    """Predict images: a table of labels, scores and p-values, and a heatmap, overlay and mask of each image.

    Whatever ends the process, a resumed prediction continues after the last image whose pictures and row are written.

    Args:
        model: Run directory, or exported model (.xml).
        options: Which images, and where the results go.
        trust: Whether to import a class that the run names and no installed package registers.
        resume: Whether to continue an unfinished prediction in ``output``, of the same model, images and options. If
            there is none, a new one begins.

    Raises:
        InputError: If the model is invalid or not calibrated, there are no images, or ``output`` holds predictions.
    """
    if options.table == "parquet":
        pyarrow()  # before anything else
    goes_on = require_usable(options.output, resume=resume)
    if goes_on and all_predicted(options.output):  # the photos may be set apart, and are not looked for
        with begun(options.output, recorded(options), columns(options), resume=True) as progress, kept(progress):
            return conclude(progress, options)
    require_elsewhere(options)
    predicted = predict_exported(model, options) if is_exported(model) else predict_run(model, options, trust)
    results = predicted.results("")
    if not goes_on:
        results = chain([next(results)], results)  # an error before the first result leaves no folder behind
    record = recorded(options) | predicted.record | {"about": predicted.about}
    with begun(options.output, record, columns(options), resume=goes_on) as progress, kept(progress):
        write(predicted.results(progress.last) if goes_on else results, predicted, options, progress)
        return conclude(progress, options)


def recorded(options: PredictOptions) -> dict[str, Any]:
    """Return the options that decide what a folder of predictions holds."""
    return {
        "version": __version__,
        "thumbnails": True,
        "save": ",".join(options.kinds),
        "pictures": options.pictures,
        "set_apart": options.set_apart,
        "shard": options.shard,
    }


def columns(options: PredictOptions) -> tuple[str, ...]:
    """Return the columns of the table."""
    return (*COLUMNS, PLACE) if options.set_apart else COLUMNS


@contextmanager
def kept(progress: Progress) -> Iterator[None]:
    """Say how to continue after an error."""
    try:
        yield
    except BaseException:
        logger.info("%s", progress.kept)
        raise


def write(results: Iterator[ImageResult], predicted: Predictions, options: PredictOptions, progress: Progress) -> None:
    """Write the pictures, the thumbnail and then the row of each image; finally complete tables."""
    sizes, thumbnails = SizeCounter(), progress.thumbnails
    with drawing() as threads:
        pictures = PictureSink(threads, options.output, predicted.name, options.kinds, options.pictures)
        pictures.seen = progress.rows.count
        drawn = ThumbnailSink(threads, thumbnails.append, labelled=False, count=thumbnails.count)
        place = partial(place_of, options.output, predicted.name) if options.set_apart else None
        rows = TableSink(partial(threads.after, progress.rows.append), labelled=False, place=place)
        drain(results, [sizes, pictures, drawn, rows])
    warn_of_scale(sizes.counts, predicted.scale)
    progress.finish()


def place_of(output: Path, name: Callable[[ImageResult], Path], result: ImageResult) -> str:
    """Return where an anomalous photo is set apart: with its sub-folders, as its pictures."""
    if result.label != ANOMALOUS or result.sample is None:
        return ""
    return safe_path(output / FOLDER / name(result).parent / result.sample.path.name)


def conclude(progress: Progress, options: PredictOptions) -> PredictSummary:
    """Set photos apart, say how many are anomalous, write facts and report, and remove the partial files."""
    from anomalib_flows.results.report import write_report  # a quarter of a second, which mistakes need not wait for

    folder = Run(progress.folder)
    if options.set_apart:
        set_apart(folder.predictions_file, options.set_apart)
    if options.table == "parquet":
        write_parquet(folder.predictions_file, folder.predictions_file.with_suffix(".parquet"))
    labels = Counter(row["label"] for row in read_rows(folder.predictions_file))
    anomalous, total = labels[LABELS[ANOMALOUS]], labels.total()
    logger.info("Anomalous: %d of %d. Table and pictures: %s", anomalous, total, folder.path)
    folder.write_json(folder.prediction_file.name, progress.record["about"] | {"images": total, "anomalous": anomalous})
    write_report(folder.path)
    progress.remove()
    return PredictSummary(folder.predictions_file, anomalous, total)


def require_elsewhere(options: PredictOptions) -> None:
    """Raise an InputError if photos that are set apart would lie among those to predict."""
    given = Path(options.input)
    base, pattern = split_pattern(given)
    if options.set_apart and (pattern or given.is_dir()) and options.output.resolve().is_relative_to(base.resolve()):
        raise InputError(
            f"`output` {options.output} is in the folder of the photos, where those that `set_apart` puts there would "
            "be predicted the next time: name a folder elsewhere."
        )
