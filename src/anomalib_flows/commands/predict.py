"""``anomalib-flows predict``: scores, labels and pictures of new images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from anomalib_flows.commands.judging import Judged, find_samples, require_new, write_judged
from anomalib_flows.core.conformal import warn_if_too_few
from anomalib_flows.core.errors import require
from anomalib_flows.core.images import read_pixels
from anomalib_flows.data.datasets.base import Dataset
from anomalib_flows.run.directory import Run, is_exported


def predict(run: Path, input: str, output: Path, data: Dataset, device: str = "auto") -> Path:
    """Judge images: a table of scores, p-values and labels, and a heatmap, overlay and mask of each image.

    Args:
        run: Run directory that 'train' wrote, or exported model (.xml).
        input: Image, folder of images (with sub-folders), or pattern such as 'photos/**/*.png'; for an exported model a
            video, too.
        output: New folder where predictions.csv and the folders heatmap, overlay and mask go; sub-folders are kept.
        data: The run's dataset; only its options for reading images are used. An exported model has none, and heeds
            --data.on_error alone.
        device: Where to compute: auto, cpu or cuda; for an exported model auto, CPU, GPU or NPU.

    Returns:
        The table, OUTPUT/predictions.csv.

    Raises:
        InputError: If the run is none or not calibrated, there are no images, or OUTPUT holds predictions.
    """
    require_new(output)
    if is_exported(run):
        from anomalib_flows.commands.predict_exported import judge as judge_exported  # openvino is an optional extra

        return write_judged(judge_exported(run, Path(input), data.on_error, device), output)
    return write_judged(judge(run, Path(input), data, device), output)


def judge(run: Path, input: Path, data: Dataset, device: str) -> Iterator[Judged]:
    """Judge images with the model of a run.

    Raises:
        InputError: If the run is none or not calibrated, or there are no images.
    """
    # Importing torch takes seconds, which --help, mistakes and exported models have no use for.
    from anomalib_flows.commands.calibrated import open_calibrated
    from anomalib_flows.inference.predictor import choose_device, compute_maps

    require(device.lower() in ("auto", "cpu", "cuda"), "--device", device, "auto, cpu or cuda")
    opened = Run.open(run)
    rate = opened.config()["false_alarm_rate"]
    pipeline = open_calibrated(opened)
    postprocess = pipeline.postprocess
    samples, names = find_samples(input, data.on_error)
    waiting = iter(names)
    data = replace(data, cache="none")  # new images are read once
    for batch, maps in compute_maps(pipeline, samples, data, choose_device(device.lower()), "Predicting"):
        prediction, normalised = postprocess(maps), postprocess.normalise(maps)
        for i, (sample, (h, w)) in enumerate(zip(batch.samples, batch.contents, strict=True)):
            map01, mask = (of[i, 0, :h, :w].numpy() for of in (normalised, prediction.masks))
            row = float(prediction.scores[i]), float(prediction.p_values[i]), int(prediction.labels[i])
            yield Judged(sample.path, next(waiting), partial(read_pixels, sample.path), map01, mask, *row)
    if pipeline.protocol == "calibrated":
        warn_if_too_few(postprocess.calibration_size, rate)
