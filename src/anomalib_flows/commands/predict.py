"""``anomalib-flows predict``: scores, labels and pictures of new images."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Literal

from torch import Tensor

from anomalib_flows.conformal import warn_if_too_few
from anomalib_flows.data.base import Dataset
from anomalib_flows.data.checking import check
from anomalib_flows.data.parallel import default_threads
from anomalib_flows.data.sources import find_images
from anomalib_flows.images import read_pixels, split_pattern
from anomalib_flows.inference import choose_device, compute_maps
from anomalib_flows.models import checkpoint
from anomalib_flows.models.postprocess import Postprocess
from anomalib_flows.report.files import relative, unique_names, write_csv, write_prediction_images
from anomalib_flows.run import Run
from anomalib_flows.types import Batch, ImageSize, InputError, Prediction, Sample


def predict(
    run: Path, input: str, output: Path, data: Dataset, device: Literal["auto", "cpu", "cuda"] = "auto"
) -> Path:
    """Judge images: a table of scores, p-values and labels, and a heatmap, overlay and mask of each image.

    Args:
        run: Run directory that 'train' wrote.
        input: Image, folder of images (with sub-folders), or pattern such as 'photos/**/*.png'.
        output: New folder where predictions.csv and the folders heatmap, overlay and mask go; sub-folders are kept.
        data: The run's dataset; only its options for reading images are used.
        device: Where to compute.

    Returns:
        The table, OUTPUT/predictions.csv.

    Raises:
        InputError: If the run is none or not calibrated, there are no images, or OUTPUT holds predictions.
    """
    table = output / "predictions.csv"
    if any((output / name).exists() for name in ("predictions.csv", "heatmap", "overlay", "mask")):
        raise InputError(f"--output {output} holds predictions already, which stay: name another folder.")
    opened = Run.open(run)
    rate = opened.config()["false_alarm_rate"]
    pipeline = checkpoint.load(opened.model_file)
    if not pipeline.postprocess.calibrated:
        raise InputError(f"The model of {run} has no thresholds yet: run 'anomalib-flows calibrate {run}'.")
    if pipeline.protocol == "paper":
        warnings.warn(
            f"The thresholds of {run} were chosen on its test images (--protocol paper): for use, set them with "
            f"'anomalib-flows calibrate {run} --images DIR'.",
            UserWarning,
            stacklevel=2,
        )
    root, paths = input_images(Path(input))
    samples = check([Sample(path, "test") for path in paths], data.on_error)
    names = unique_names([relative(s.path, root) for s in samples], ".png")
    rows: list[tuple[Path, float, float, int]] = []
    data = replace(data, cache="none")  # new images are read once
    for batch, maps in compute_maps(pipeline, samples, data, choose_device(device), "Predicting"):
        prediction = pipeline.postprocess(maps)
        write_pictures(output, names[len(rows) :], batch, prediction, pipeline.postprocess)
        rows += zip((s.path for s in batch.samples), *lists(prediction), strict=True)
    write_csv(rows, table)
    anomalous = sum(label for *_, label in rows)
    if pipeline.protocol == "calibrated":
        warn_if_too_few(pipeline.postprocess.calibration_size, rate)
    print(f"Anomalous: {anomalous} of {len(rows)}. Table and pictures: {output}")
    return table


def input_images(path: Path) -> tuple[Path, list[Path]]:
    """List the images that a file, folder or pattern names, and the folder below which names are kept."""
    if path.is_file():
        return path.parent, [path]
    if not path.is_dir() and not split_pattern(path)[1]:
        raise InputError(f"--input {path} does not exist: give an image, a folder or a pattern like 'photos/*.png'.")
    source = find_images("--input", path)
    return source.base, source.images


def write_pictures(
    output: Path, names: list[Path], batch: Batch, prediction: Prediction, postprocess: Postprocess
) -> None:
    """Write heatmap, overlay and mask of each image of a batch, without the padding."""
    shown = postprocess.normalise(prediction.maps)

    def write(i: int) -> None:
        map01, mask = (crop(of[i], batch.contents[i]).numpy() for of in (shown, prediction.masks))
        write_prediction_images(output, names[i], read_pixels(batch.samples[i].path), map01, mask)

    with ThreadPoolExecutor(default_threads()) as pool:  # Pillow packs PNGs without holding the GIL
        list(pool.map(write, range(len(batch.samples))))


def crop(map_: Tensor, content: ImageSize) -> Tensor:
    """Cut the padding off: (1, H, W) -> (height, width)."""
    height, width = content
    return map_[0, :height, :width]


def lists(prediction: Prediction) -> tuple[list[float], list[float], list[int]]:
    """Scores, p-values and labels as lists."""
    return prediction.scores.tolist(), prediction.p_values.tolist(), prediction.labels.tolist()
