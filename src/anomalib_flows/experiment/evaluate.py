"""Test a pipeline: figures, predictions and pictures in the run directory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.images import read_pixels
from anomalib_flows.core.types import NORMAL, Batch, ImageSize, Prediction, Protocol, Sample
from anomalib_flows.data.datasets.base import Dataset
from anomalib_flows.data.loading.augmentation import AugmentOptions, change
from anomalib_flows.data.splits.validation import is_drawn
from anomalib_flows.inference.calibration import set_scores
from anomalib_flows.inference.predictor import compute_maps, set_constants
from anomalib_flows.models.pipeline import Pipeline
from anomalib_flows.models.postprocess import Postprocess
from anomalib_flows.results.figures import PICTURES, draw_figures
from anomalib_flows.results.files import write_csv
from anomalib_flows.results.heatmap import Picture
from anomalib_flows.results.metrics.evaluate import evaluate
from anomalib_flows.results.result import Result
from anomalib_flows.run.directory import Run


@dataclass(frozen=True)
class Tested:
    """The maps of N samples, (N, 1, H, W), with their masks, the sizes of their contents, and pictures to show."""

    samples: list[Sample]
    maps: Tensor
    masks: list[Tensor | None]
    contents: list[ImageSize]
    pictures: list[Picture | Callable[[], Picture]]


def evaluate_run(
    run: Run,
    pipeline: Pipeline,
    samples: list[Sample],
    data: Dataset,
    device: torch.device,
    protocol: Protocol = "calibrated",
    pictures: int = PICTURES,
) -> dict[str, Any]:
    """Test on samples; write ``predictions.csv``, ``images/`` and ``metrics.json``; return the figures.

    With the protocol ``paper`` the pipeline's constants and thresholds are set on these very samples first. Of so many
    samples as ``pictures`` says, at most, a picture is drawn.

    Raises:
        InputError: If the pipeline has not been calibrated, or the protocol lacks normal or anomalous samples.
    """
    if protocol == "paper":
        tested = adapt_to_test(pipeline, samples, data, device)
    else:
        require_calibrated(run, pipeline)
        tested = collect(pipeline, samples, data, device)
    return record(run, pipeline, tested, data, pictures)


def evaluate_disturbed(
    run: Run,
    pipeline: Pipeline,
    samples: list[Sample],
    data: Dataset,
    device: torch.device,
    changes: AugmentOptions,
    seed: int,
    pictures: int = PICTURES,
) -> dict[str, Any]:
    """Test on images that are changed at random, with the model as it is; write to ``disturbed/`` of the run."""
    tested = collect(pipeline, samples, data, device, changes, seed)
    return record(run.disturbed, pipeline, tested, data, pictures, disturb=asdict(changes), seed=seed)


def evaluate_validation(
    run: Run,
    pipeline: Pipeline,
    samples: list[Sample],
    data: Dataset,
    device: torch.device,
    own: Dataset | None = None,
    pictures: int = PICTURES,
) -> dict[str, Any]:
    """Test on the images of the split validation; write to ``validation/`` of the run.

    Args:
        run: The run.
        pipeline: What it trained.
        samples: Held-out normal images, and defective ones, which are drawn unless the dataset brings them.
        data: Says how images are read.
        device: Where to compute.
        own: The run's dataset, if ``data`` is another one.
        pictures: Of how many samples, at most, a picture is drawn.
    """
    require_calibrated(run, pipeline)
    about = {"anomalies": "drawn"} if any(map(is_drawn, samples)) else {}
    return record(run.validation, pipeline, collect(pipeline, samples, data, device), own or data, pictures, **about)


def record(run: Run, pipeline: Pipeline, tested: Tested, data: Dataset, pictures: int, **about: Any) -> dict[str, Any]:
    """Write ``predictions.csv``, ``images/`` and ``metrics.json`` with what there is to say about them."""
    results = make_results(pipeline.postprocess, tested)
    metrics = measure(pipeline.postprocess, tested)
    write_csv(((r.path, r.score, r.p_value, r.predicted) for r in results), run.predictions_file)
    draw_figures(results, run.images, run.drawn / "defects", pictures)
    about = {
        "dataset": data.name,
        "subset": data.subset,
        "protocol": pipeline.protocol,
        "calibration_images": pipeline.postprocess.calibration_size,
        **about,
    }
    run.write_json(run.metrics_file.name, about | metrics)
    return metrics


def adapt_to_test(pipeline: Pipeline, samples: list[Sample], data: Dataset, device: torch.device) -> Tested:
    """Set constants and thresholds on the test samples, as published tables do, and return what was computed.

    The thresholds are those of the best F1; p-values are shares of the normal test images.
    """
    require_both_labels(samples)
    pipeline.protocol = "paper"
    set_constants(pipeline, samples, data, device)
    tested, postprocess = collect(pipeline, samples, data, device), pipeline.postprocess
    set_scores(postprocess, tested.maps[[sample.label == NORMAL for sample in samples]])
    figures = measure(postprocess, tested)
    best = figures["image"]["f1_max_threshold"]
    postprocess.image_threshold = torch.tensor(best)
    of_pixels = figures["pixel"]["f1_max_threshold"]
    postprocess.pixel_threshold = torch.tensor(best if of_pixels is None else of_pixels)
    return tested


def require_calibrated(run: Run, pipeline: Pipeline) -> None:
    """Refuse a pipeline without thresholds.

    Raises:
        InputError: If it has not been calibrated.
    """
    if not pipeline.postprocess.calibrated:
        raise InputError(f"The model of {run.path} has no thresholds yet: run 'anomalib-flows calibrate {run.path}'.")


def require_both_labels(samples: list[Sample]) -> None:
    """Refuse the protocol ``paper`` where nothing can be chosen on the test samples.

    Raises:
        InputError: If they are not normal and anomalous ones.
    """
    if len({sample.label for sample in samples}) < 2:
        raise InputError("--protocol paper needs normal and anomalous test images: leave it out, or name other data.")


def collect(
    pipeline: Pipeline,
    samples: list[Sample],
    data: Dataset,
    device: torch.device,
    changes: AugmentOptions = AugmentOptions(),  # noqa: B008 (frozen)
    seed: int = 0,
) -> Tested:
    """Compute the maps of samples, which may be changed at random first."""
    maps, tested = [], Tested(samples, torch.empty(0), [], [], [])
    disturb = partial(disturbed, changes=changes, seed=seed)
    for batch, computed in compute_maps(pipeline, samples, data, device, "Testing", disturb):
        maps.append(computed)
        tested.masks.extend(batch.masks)
        tested.contents.extend(batch.contents)
        tested.pictures.extend(
            as_seen(batch) if changes.active else [partial(read_pixels, s.path) for s in batch.samples]
        )
    return replace(tested, maps=torch.cat(maps))


def disturbed(batch: Batch, changes: AugmentOptions, seed: int) -> Batch:
    """Change each image in a way that depends on its file's name and the seed."""
    return change(batch, changes, seed)


def as_seen(batch: Batch) -> list[Picture]:
    """Turn the images of a batch, without padding, into pixels to show."""
    levels = batch.images.round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return [pixels[:h, :w] for pixels, (h, w) in zip(levels, batch.contents, strict=True)]


def measure(postprocess: Postprocess, tested: Tested) -> dict[str, Any]:
    """Compute all figures; padding does not count."""
    return evaluate(
        scores=postprocess.scores(tested.maps).numpy(),
        labels=[s.label for s in tested.samples],
        threshold=float(postprocess.image_threshold),
        maps=[m[0, :h, :w].numpy() for m, (h, w) in zip(tested.maps, tested.contents, strict=True)],
        masks=[
            None if m is None else m[:h, :w].numpy() for m, (h, w) in zip(tested.masks, tested.contents, strict=True)
        ],
        defects=[s.defect for s in tested.samples],
        pixel_threshold=float(postprocess.pixel_threshold),
    )


def make_results(postprocess: Postprocess, tested: Tested) -> list[Result]:
    """Bring together what a figure of each image shows; images are read when they are drawn."""
    prediction: Prediction = postprocess(tested.maps)
    shown = postprocess.normalise(tested.maps)
    return [
        Result(
            path=sample.path,
            image=picture,
            map01=shown[i, 0, :h, :w].numpy(),
            mask=prediction.masks[i, 0, :h, :w].numpy(),
            score=float(prediction.scores[i]),
            threshold=float(postprocess.image_threshold),
            p_value=float(prediction.p_values[i]),
            predicted=int(prediction.labels[i]),
            label=sample.label,
            defect=sample.defect,
            ground_truth=None if mask is None else mask[:h, :w].numpy(),
        )
        for i, (sample, mask, (h, w), picture) in enumerate(
            zip(tested.samples, tested.masks, tested.contents, tested.pictures, strict=True)
        )
    ]
