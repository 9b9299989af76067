"""Compare rules for the pixel threshold: the F1 of masks on the test images of runs, and good images with specks.

``area`` is ``--decision.mask_area``, 0 being the maximum of the map. ``rate`` is another rule, which the package does
not have: the quantile of all pixels of the calibration images.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from jsonargparse import auto_cli
from PIL import Image
from torch import Tensor

from anomalib_flows.core.types import Sample
from anomalib_flows.data.drawing.scene import draw_photograph
from anomalib_flows.data.splits import read_splits, select
from anomalib_flows.experiment.test import unused_samples
from anomalib_flows.inference.fitting import calibrate_postprocess, conformal_threshold
from anomalib_flows.inference.runner import PipelineRunner, choose_device
from anomalib_flows.models.checkpoint import load_pipeline
from anomalib_flows.results.metrics.ranking import pixel_group, rank
from anomalib_flows.run.directory import Run

AREAS, RATES = (0.0, 0.02, 0.1, 0.5), (0.01, 0.1, 1.0)


def compare(runs: list[Path], draw: int = 0, false_alarm_rate: float = 0.01) -> None:
    """Print a row for each run.

    Args:
        runs: Run directories.
        draw: Number of good images that are drawn to calibrate with, for runs on the dataset synthetic.
        false_alarm_rate: Rate of the rule ``area``.
    """
    titles = ["run", "n", "best", *(f"area {a:g} %" for a in AREAS), *(f"rate {r:g} %" for r in RATES)]
    print(f"| {' | '.join(titles)} |\n|{'---|' * len(titles)}")
    for path in runs:
        print(f"| {' | '.join([path.as_posix(), *row(Run.open(path), draw, false_alarm_rate)])} |", flush=True)


def row(run: Run, draw: int, false_alarm_rate: float) -> list[str]:
    """Return the number of calibration images, the best F1, and for each rule its F1 and the share with specks."""
    runner = PipelineRunner(load_pipeline(run.model_file), choose_device("auto"), run.config().loader)
    maps = calibration_maps(run, runner, draw)
    results = list(runner.predict(unused_samples(run, run.config().data.build("datasets"))))
    masked = [r for r in results if r.ground_truth is not None]
    good = pixel_group([(r.raw_map, r.ground_truth) for r in masked if not r.sample.label])
    ranking = rank(good, [pixel_group([(r.raw_map, r.ground_truth) for r in masked if r.sample.label])])
    highest = np.array([r.raw_map.max() for r in results if not r.sample.label])
    found = [
        f"{ranking.f1(t):.2f} ({100 * (highest > t).mean():.0f} %)" for t in thresholds(runner, maps, false_alarm_rate)
    ]
    return [str(len(maps)), f"{ranking.f1_max()[0]:.2f}", *found]


def thresholds(runner: PipelineRunner, maps: Tensor, false_alarm_rate: float) -> Iterator[float]:
    """Yield the pixel threshold of each rule."""
    post = runner.pipeline.postprocess
    calibrate_postprocess(post, maps, false_alarm_rate)
    yield from (float(conformal_threshold(post.calibration_levels(area), false_alarm_rate)) for area in AREAS)
    pixels = maps[:, 0].flatten().sort().values
    yield from (float(pixels[int(len(pixels) * (1 - rate / 100)) - 1]) for rate in RATES)


def calibration_maps(run: Run, runner: PipelineRunner, draw: int) -> Tensor:
    """Return raw maps of the calibration images of a run, or of as many that are drawn now."""
    if not draw:
        return maps_of(runner, select(read_splits(run.splits_file), "calibration"))
    with TemporaryDirectory() as folder:
        files = [Path(folder) / f"{number:03d}.png" for number in range(draw)]
        for file in files:
            category = run.config().data.init_args["category"]
            Image.fromarray(draw_photograph(category, "good", f"extra/{file.stem}")[0]).save(file)
        return maps_of(runner, [Sample(file, "calibration") for file in files])


def maps_of(runner: PipelineRunner, samples: list[Sample]) -> Tensor:
    return torch.cat([maps for _, maps in runner.maps(samples, "Calibrating")])


if __name__ == "__main__":
    auto_cli(compare, as_positional=False)
