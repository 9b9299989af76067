"""Evaluate a predictor: metrics, a table of predictions and figures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import torch

from anomalib_flows.core.commit import together
from anomalib_flows.core.errors import InputError, NotCalibratedError
from anomalib_flows.core.types import NORMAL, Batch, ImageResult, Sample
from anomalib_flows.data.loading.augmentation import augment_batch
from anomalib_flows.data.splits import is_drawn
from anomalib_flows.experiment.facts import about_pipeline
from anomalib_flows.inference.feature_cache import COMPUTED
from anomalib_flows.inference.fitting import fit_constants, set_scores
from anomalib_flows.inference.runner import PipelineRunner
from anomalib_flows.results.drawing import drawing
from anomalib_flows.results.pictures import FigureSink, name_figures
from anomalib_flows.results.sinks import ErrorCounter, MetricsSink, Thresholds, drain
from anomalib_flows.results.table import open_table
from anomalib_flows.results.thumbnails import open_thumbnails
from anomalib_flows.run.directory import Run
from anomalib_flows.run.options import AugmentOptions


@dataclass(frozen=True)
class TestSet:
    """Images of a dataset to evaluate on, and the limit of those that a figure is drawn of."""

    __test__ = False  # pytest would collect the class

    dataset: str
    subset: str
    samples: Sequence[Sample]
    figures: int


def evaluate_run(run: Run, runner: PipelineRunner, tested: TestSet, protocol: str = "calibrated") -> None:
    """Evaluate the model of a run; write the files of results of the run.

    With the protocol ``paper``, constants and thresholds of the pipeline are set on the images themselves first.
    """
    if protocol == "paper":
        results: Iterable[ImageResult] = calibrate_on_test(runner, tested.samples)
    else:
        require_calibrated(run, runner)
        results = runner.predict(tested.samples)
    evaluate_results(run, results, tested, runner.thresholds, about_pipeline(run, runner))


def evaluate_disturbed(run: Run, runner: PipelineRunner, tested: TestSet, disturb: AugmentOptions, seed: int) -> None:
    """Evaluate a model on images that are changed at random; write to ``disturbed/`` of the run."""
    results = runner.predict(tested.samples, partial(disturbed, options=disturb, seed=seed))
    about = {**about_pipeline(run, runner), "disturb": asdict(disturb), "seed": seed}
    evaluate_results(run.disturbed, results, tested, runner.thresholds, about)


def evaluate_validation(run: Run, runner: PipelineRunner, tested: TestSet) -> None:
    """Evaluate a model on the images of the split validation; write to ``validation/`` of the run."""
    require_calibrated(run, runner)
    about = about_pipeline(run, runner)
    if any(map(is_drawn, tested.samples)):
        about["anomalies"] = "drawn"
    evaluate_results(run.validation, runner.predict(tested.samples), tested, runner.thresholds, about)


def evaluate_results(
    folder: Run, results: Iterable[ImageResult], tested: TestSet, thresholds: Thresholds, about: dict[str, Any]
) -> None:
    """Write table, figures, thumbnails, metrics and curves of a stream of results to a folder, at once; then a report.

    ``about`` adds facts to the metrics.
    """
    from anomalib_flows.results.report import write_report  # a quarter of a second, which mistakes need not wait for

    metrics, errors = MetricsSink(), ErrorCounter()
    figures = name_figures(tested.samples, folder.drawn / "defects", tested.figures)
    about = {"dataset": tested.dataset, "subset": tested.subset, **about, "image_scale": thresholds.image_scale}
    with together(folder.path) as temporary:
        made = Run(temporary)
        for replaced in (made.images, made.prediction_file, made.report_file):  # by nothing, unless it is written
            replaced.mkdir()
        with (
            open_table(made.predictions_file, labelled=True) as table,
            drawing() as threads,
            open_thumbnails(made.thumbnails_file, threads, labelled=True) as thumbnails,
        ):
            drain(results, [metrics, errors, table, FigureSink(threads, made.images, figures), thumbnails])
        found = metrics.metrics(thresholds)
        made.write_json(made.curves_file.name, found.pop("curves"))
        made.write_json(made.metrics_file.name, about | {"errors": errors.errors()} | found)
    write_report(folder.path)


def calibrate_on_test(runner: PipelineRunner, samples: Sequence[Sample]) -> Iterator[ImageResult]:
    """Set constants and thresholds on the test images, as published results do, and return the results.

    The thresholds are those of the best F1. P-values are shares of the normal test images.
    """
    require_both_labels(samples)
    runner.pipeline.protocol = "paper"
    runner = replace(runner, features=COMPUTED)
    fit_constants(runner, samples)
    postprocess = runner.pipeline.postprocess
    kept = [
        (replace(batch, images=torch.empty(0), pictures=[]), maps)  # to keep all batches
        for batch, maps in runner.maps(samples, "Testing")
    ]
    normal = [maps[[s.label == NORMAL for s in batch.samples]] for batch, maps in kept]
    set_scores(postprocess, torch.cat(normal))
    sink = MetricsSink()
    drain((result for batch, maps in kept for result in runner.decide(batch, maps)), [sink])
    metrics = sink.metrics(runner.thresholds)
    best, of_pixels = metrics["image"]["f1_max_threshold"], metrics["pixel"]["f1_max_threshold"]
    postprocess.image_threshold = torch.tensor(best)
    postprocess.pixel_threshold = torch.tensor(best if of_pixels is None else of_pixels)
    return (result for batch, maps in kept for result in runner.decide(batch, maps))


def require_calibrated(run: Run, runner: PipelineRunner) -> None:
    """Raise a NotCalibratedError if a pipeline has no thresholds."""
    if not runner.pipeline.postprocess.calibrated:
        raise NotCalibratedError(run.path)


def require_both_labels(samples: Sequence[Sample]) -> None:
    """Raise an InputError unless there are normal and anomalous images, which the protocol ``paper`` needs."""
    if len({sample.label for sample in samples}) < 2:
        raise InputError("`protocol` paper needs normal and anomalous test images: leave it out, or name other data.")


def disturbed(batch: Batch, options: AugmentOptions, seed: int) -> Batch:
    """Change each image by its file name and the seed; its picture is the changed image."""
    changed = augment_batch(batch, options, seed)
    levels = changed.images.round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    changed.pictures = [pixels[:h, :w] for pixels, (h, w) in zip(levels, changed.contents, strict=True)]
    return changed
