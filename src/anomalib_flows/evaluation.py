"""Test a pipeline: figures, predictions and pictures in the run directory."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from anomalib_flows.calibration import set_scores
from anomalib_flows.data.base import Dataset
from anomalib_flows.data.reading import read_image
from anomalib_flows.files import fresh_folder
from anomalib_flows.inference import compute_maps, set_constants
from anomalib_flows.metrics.evaluate import evaluate
from anomalib_flows.models.pipeline import Pipeline
from anomalib_flows.models.postprocess import Postprocess
from anomalib_flows.report.files import write_csv, write_figures
from anomalib_flows.report.heatmap import Picture
from anomalib_flows.report.result import Result
from anomalib_flows.run import Run
from anomalib_flows.types import NORMAL, ImageSize, InputError, Prediction, Protocol, Sample


@dataclass(frozen=True)
class Tested:
    """The maps of N samples, (N, 1, H, W), with their masks and the sizes of their contents."""

    samples: list[Sample]
    maps: Tensor
    masks: list[Tensor | None]
    contents: list[ImageSize]


def evaluate_run(
    run: Run,
    pipeline: Pipeline,
    samples: list[Sample],
    data: Dataset,
    device: torch.device,
    protocol: Protocol = "calibrated",
) -> dict[str, Any]:
    """Test on samples; write ``predictions.csv``, ``images/`` and ``metrics.json``; return the figures.

    With the protocol ``paper`` the pipeline's constants and thresholds are set on these very samples first.

    Raises:
        InputError: If the pipeline has not been calibrated, or the protocol lacks normal or anomalous samples.
    """
    if protocol == "paper":
        tested = adapt_to_test(pipeline, samples, data, device)
    elif pipeline.postprocess.calibrated:
        tested = collect(pipeline, samples, data, device)
    else:
        raise InputError(f"The model of {run.path} has no thresholds yet: run 'anomalib-flows calibrate {run.path}'.")
    results = make_results(pipeline.postprocess, tested)
    metrics = measure(pipeline.postprocess, tested)
    write_csv(((r.path, r.score, r.p_value, r.predicted) for r in results), run.predictions_file)
    with fresh_folder(run.images) as folder:
        write_figures(results, folder, Path(os.path.commonpath([s.path.absolute().parent for s in samples])))
    about = {
        "dataset": data.name,
        "subset": data.subset,
        "protocol": pipeline.protocol,
        "calibration_images": pipeline.postprocess.calibration_size,
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


def require_both_labels(samples: list[Sample]) -> None:
    """Refuse the protocol ``paper`` where nothing can be chosen on the test samples.

    Raises:
        InputError: If they are not normal and anomalous ones.
    """
    if len({sample.label for sample in samples}) < 2:
        raise InputError("--protocol paper needs normal and anomalous test images: leave it out, or name other data.")


def collect(pipeline: Pipeline, samples: list[Sample], data: Dataset, device: torch.device) -> Tested:
    """Compute the maps of samples."""
    batches = list(compute_maps(pipeline, samples, data, device, "Testing"))
    maps = torch.cat([m for _, m in batches])
    return Tested(samples, maps, [m for b, _ in batches for m in b.masks], [c for b, _ in batches for c in b.contents])


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
            image=partial(read_picture, sample.path),
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
        for i, (sample, mask, (h, w)) in enumerate(zip(tested.samples, tested.masks, tested.contents, strict=True))
    ]


def read_picture(path: Path) -> Picture:
    """Read an image as pixels of shape (h, w, 3)."""
    pixels: Picture = read_image(path).permute(1, 2, 0).numpy()
    return pixels
