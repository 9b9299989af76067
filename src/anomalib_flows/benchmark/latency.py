"""Measure the latency of a run or of an exported model on this machine."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anomalib_flows.core.errors import InputError, require
from anomalib_flows.core.outputs import require_place
from anomalib_flows.core.types import ImageSize
from anomalib_flows.run.options import parse_size

if TYPE_CHECKING:
    from anomalib_flows.core.images import Pixels
    from anomalib_flows.core.timing import Elapsed

MAX_SIDE = 10000
"""Largest height and width of the noise."""
MAX_IMAGES = 20
"""Largest number of images that are read."""


@dataclass(frozen=True, kw_only=True)
class LatencyOptions:
    """How the speed of a model is measured.

    Args:
        device: CPU, GPU, NPU or another name of OpenVINO; for runs cpu or cuda.
        image_size: Height and width of noise images, such as 1080,1920. By default the size that the model resizes to.
        images: Images to use instead of noise: file, folder or pattern. The first 20 are used.
        streams: Number of images that are computed at the same time to measure the throughput of exported models.
        seconds: Duration of each measurement.
        precisions: Inference precisions, such as f32,bf16. By default all that the device supports.
        output: JSON file for the measurements; an existing one is replaced.

    Raises:
        InputError: If a value is invalid.
    """

    device: str = "CPU"
    image_size: int | str | None = None
    images: Path | None = None
    streams: int | str = "auto"
    seconds: float = 5.0
    precisions: str | None = None
    output: Path | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        require(isfinite(self.seconds) and self.seconds > 0, "seconds", self.seconds, "above 0")
        valid = self.streams == "auto" or re.fullmatch(r"0*[1-9]\d*", str(self.streams)) is not None
        require(valid, "streams", self.streams, "at least 1, or auto")
        if self.images is not None and self.image_size is not None:
            raise InputError("Give `images` or `image_size`, not both: images have a size.")
        size = self.noise_size
        require(size is None or max(size) <= MAX_SIDE, "image_size", self.image_size, f"at most {MAX_SIDE}")
        if self.output:
            require_place("output", self.output, folder=False)

    @property
    def noise_size(self) -> ImageSize | None:
        """Height and width of noise images; None for the size that the model resizes to."""
        return None if self.image_size is None else parse_size(self.image_size, "image_size")

    @property
    def stream_count(self) -> int | None:
        """Number of images that are computed at the same time; None if OpenVINO chooses it."""
        return None if self.streams == "auto" else int(self.streams)

    def read_images(self) -> list[Pixels]:
        """Read the images; an empty list stands for noise."""
        from anomalib_flows.core.images import read_pixels  # --help needs no numpy
        from anomalib_flows.data.listing import find_source

        if self.images is None:
            return []
        found = [self.images] if self.images.is_file() else find_source("images", self.images).images[:MAX_IMAGES]
        return [read_pixels(path) for path in found]

    def choose_precisions(self, available: list[str], device: str) -> list[str]:
        """Return the inference precisions to measure."""
        asked = [] if self.precisions is None else [name.strip().lower() for name in self.precisions.split(",")]
        for name in asked:
            expected = f"one of those that {device} supports: {', '.join(available)}"
            require(name in available, "precisions", name or "empty", expected)
        return list(dict.fromkeys(asked or available))


@contextmanager
def progress(seconds: float) -> Iterator[Elapsed]:
    """Show a progress bar, and yield the function that moves it on by seconds."""
    from tqdm import tqdm

    shape = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}"
    with tqdm(total=seconds, desc="Measuring", bar_format=shape, leave=False, delay=2, disable=None) as bar:
        yield lambda elapsed: bar.update(min(elapsed, seconds - bar.n))


DEFAULTS = LatencyOptions()


def measure_latency(model: Path, options: LatencyOptions = DEFAULTS, *, trust: bool = False) -> dict[str, Any]:
    """Measure latency, throughput, the time of each part, and memory.

    Times are from an image in memory to results in memory, without reading and decoding files. The model of a run is
    measured in torch, one image after the other.

    Args:
        model: Run directory, or exported model (.xml).
        options: How to measure.
        trust: Whether to import a class that the run names and no installed package registers.

    Returns:
        The measurements, which ``output`` receives as JSON.

    Raises:
        InputError: If the model is invalid, the device is not available, or an option is invalid.
    """
    from anomalib_flows.core.files import atomic
    from anomalib_flows.run.directory import is_exported

    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None  # mean number of busy cores in the last minute
    if is_exported(model):  # only the libraries that a kind of model needs are imported
        from anomalib_flows.benchmark.latency_exported import measure_exported

        figures = measure_exported(model, options)
    else:
        from anomalib_flows.benchmark.latency_run import measure_run

        figures = measure_run(model, options, trust)
    measured = {"model": str(model), **figures, "load": load}
    if options.output:
        with atomic(options.output) as temporary:
            temporary.write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")
    return measured
