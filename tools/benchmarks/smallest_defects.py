"""Which defects are large enough to be seen? Squares and scratches of several sizes are drawn on good test images.

Prints, for each size in pixels of the model's input, the image AUROC of the photos with a defect against the same
photos without. Photos are brought to four times the size of the input first, so that a defect is drawn finely and
scaled down with its photo.

    python tools/benchmarks/smallest_defects.py --runs '[results/fastflow/mvtec/leather/run-001]'
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from jsonargparse import auto_cli

from anomalib_flows.core.preprocess import resize
from anomalib_flows.core.types import NORMAL
from anomalib_flows.data.loading.reading import read_image
from anomalib_flows.data.splits import read_splits, select
from anomalib_flows.models.checkpoint import load_calibrated
from anomalib_flows.models.pipeline import Pipeline
from anomalib_flows.results.metrics.ranking import Ranking
from anomalib_flows.run.directory import Run

Array = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Defects:
    """Options of the measurement.

    Args:
        runs: Run directories.
        sizes: Sides of squares and widths of scratches, in pixels of the input; a scratch is ten times as long.
        contrasts: Differences from the grey level around a defect.
        images: Largest number of good test images.
        repeats: Defects on each image.
        enlarge: Size of the photos that defects are drawn on, in sizes of the input.
    """

    runs: list[Path]
    sizes: tuple[float, ...] = (1, 2, 3, 4, 6, 8, 12, 16)
    contrasts: tuple[int, ...] = (40, 100)
    images: int = 12
    repeats: int = 2
    enlarge: int = 4


def cover(shape: tuple[int, int], side: float, kind: str, rng: np.random.Generator) -> Array:
    """Return the share of each pixel that a defect covers, (H, W)."""
    rows, columns = np.arange(shape[0])[:, None], np.arange(shape[1])[None]
    if kind == "square":
        top, left = rng.uniform(0.3, 0.7, 2) * (np.array(shape) - side)
        down = np.clip(np.minimum(rows + 1, top + side) - np.maximum(rows, top), 0, 1)
        return down * np.clip(np.minimum(columns + 1, left + side) - np.maximum(columns, left), 0, 1)
    angle = rng.uniform(0, np.pi)
    dy, dx = (line - length * rng.uniform(0.35, 0.65) for line, length in zip((rows, columns), shape, strict=True))
    across = abs(dy * np.cos(angle) - dx * np.sin(angle))
    along = abs(dy * np.sin(angle) + dx * np.cos(angle))
    return np.clip(side / 2 - across + 0.5, 0, 1) * np.clip(5 * side - along + 0.5, 0, 1)


def draw(photo: Array, covered: Array, contrast: float) -> Array:
    """Darken a bright place of a photo (H, W, 3), or brighten a dark one."""
    darker = photo[covered > 0].mean() > 128
    return np.clip(photo + (-contrast if darker else contrast) * covered[..., None], 0, 255).astype(np.float32)


def score(pipeline: Pipeline, photo: Array) -> float:
    """Return the image score of a photo (H, W, 3)."""
    return float(pipeline(torch.from_numpy(photo).permute(2, 0, 1)[None]).scores[0])


def photos_of(run: Run, pipeline: Pipeline, options: Defects) -> list[Array]:
    """Return good test images of a run, enlarged."""
    good = [s.path for s in select(read_splits(run.splits_file), "test") if s.label == NORMAL][: options.images]
    height, width = pipeline.preprocess.size
    size = height * options.enlarge, width * options.enlarge
    return [resize(read_image(path), size).permute(1, 2, 0).numpy() for path in good]


def measure(options: Defects) -> None:
    """Print a table."""
    names = [f"{size:g}" for size in options.sizes]
    print(f"| run | defect | contrast | {' | '.join(names)} |\n|{'---|' * (3 + len(names))}")
    for path in options.runs:
        pipeline = load_calibrated(Run.open(path)).eval()
        photos = photos_of(Run.open(path), pipeline, options)
        clean = np.sort(np.array([score(pipeline, photo) for photo in photos]))
        for kind in ("square", "scratch"):
            for contrast in options.contrasts:
                cells = []
                for size in options.sizes:
                    rng = np.random.default_rng(1)
                    drawn = [
                        draw(photo, cover(photo.shape[:2], size * options.enlarge, kind, rng), contrast)
                        for photo in photos
                        for _ in range(options.repeats)
                    ]
                    scores = np.array([score(pipeline, photo) for photo in drawn])
                    cells.append(f"{Ranking(scores, [clean]).auroc():.2f}")
                print(f"| {path} | {kind} | {contrast} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    measure(auto_cli(Defects, as_positional=False))
