"""Test a pipeline: figures, predictions and pictures in the run directory."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from anomalib_flows.data.base import Dataset
from anomalib_flows.data.reading import read_image
from anomalib_flows.files import fresh_folder
from anomalib_flows.inference import compute_maps
from anomalib_flows.metrics.evaluate import evaluate
from anomalib_flows.models.pipeline import Pipeline
from anomalib_flows.models.postprocess import Postprocess
from anomalib_flows.report.files import write_csv, write_figures
from anomalib_flows.report.heatmap import Picture
from anomalib_flows.report.result import Result
from anomalib_flows.run import Run
from anomalib_flows.types import ImageSize, InputError, Prediction, Sample


def evaluate_run(
    run: Run, pipeline: Pipeline, samples: list[Sample], data: Dataset, device: torch.device
) -> dict[str, Any]:
    """Test on samples; write ``predictions.csv``, ``images/`` and ``metrics.json``; return the figures.

    Raises:
        InputError: If the pipeline has not been calibrated.
    """
    if not pipeline.postprocess.calibrated:
        raise InputError(f"The model of {run.path} has no thresholds yet: run 'anomalib-flows calibrate {run.path}'.")
    maps, masks, contents = collect(pipeline, samples, data, device)
    results = make_results(pipeline.postprocess, pipeline.postprocess(maps), samples, masks, contents)
    metrics = measure(pipeline.postprocess, maps, samples, masks, contents)
    write_csv(((r.path, r.score, r.p_value, r.predicted) for r in results), run.predictions_file)
    with fresh_folder(run.images) as folder:
        write_figures(results, folder, Path(os.path.commonpath([s.path.absolute().parent for s in samples])))
    tested = {"dataset": data.name, "subset": data.subset, "calibration_images": pipeline.postprocess.calibration_size}
    run.write_json(run.metrics_file.name, tested | metrics)
    return metrics


def collect(
    pipeline: Pipeline, samples: list[Sample], data: Dataset, device: torch.device
) -> tuple[Tensor, list[Tensor | None], list[ImageSize]]:
    """Compute the maps of N samples, (N, 1, H, W), with their masks and the sizes of their contents."""
    batches = list(compute_maps(pipeline, samples, data, device, "Testing"))
    maps = torch.cat([m for _, m in batches])
    return maps, [m for b, _ in batches for m in b.masks], [c for b, _ in batches for c in b.contents]


def measure(
    postprocess: Postprocess,
    maps: Tensor,
    samples: list[Sample],
    masks: list[Tensor | None],
    contents: list[ImageSize],
) -> dict[str, Any]:
    """Compute all figures of maps (N, 1, H, W); padding does not count."""
    return evaluate(
        scores=postprocess.scores(maps).numpy(),
        labels=[s.label for s in samples],
        threshold=float(postprocess.image_threshold),
        maps=[m[0, :h, :w].numpy() for m, (h, w) in zip(maps, contents, strict=True)],
        masks=[None if m is None else m[:h, :w].numpy() for m, (h, w) in zip(masks, contents, strict=True)],
        defects=[s.defect for s in samples],
        pixel_threshold=float(postprocess.pixel_threshold),
    )


def make_results(
    postprocess: Postprocess,
    prediction: Prediction,
    samples: list[Sample],
    masks: list[Tensor | None],
    contents: list[ImageSize],
) -> list[Result]:
    """Bring together what a figure of each image shows; images are read when they are drawn."""
    shown = postprocess.normalise(prediction.maps)
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
        for i, (sample, mask, (h, w)) in enumerate(zip(samples, masks, contents, strict=True))
    ]


def read_picture(path: Path) -> Picture:
    """Read an image as pixels of shape (h, w, 3)."""
    pixels: Picture = read_image(path).permute(1, 2, 0).numpy()
    return pixels
