"""What ``predict`` finds and writes, whatever judges the images."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.images import Pixels, split_pattern
from anomalib_flows.core.parallel import default_threads
from anomalib_flows.core.types import ANOMALOUS, Sample
from anomalib_flows.data.checks.checking import check
from anomalib_flows.data.listing.sources import find_images
from anomalib_flows.results.files import Row, csv_table, relative, unique_names, write_prediction_images

PARTS = ("predictions.csv", "heatmap", "overlay", "mask")


class Judged(NamedTuple):
    """An image and what a detector says about it.

    Args:
        path: What the table calls the image.
        name: What its pictures are called, relative and with the suffix ``.png``.
        picture: The image, or a function that reads it.
        map01: Anomaly map of shape (H, W) in [0, 1], without padding.
        mask: True where the image is anomalous, of shape (H, W).
        score: Raw score.
        p_value: Share of normal images that score at least as high.
        label: 0 for normal, 1 for anomalous.
    """

    path: Path
    name: Path
    picture: Pixels | Callable[[], Pixels]
    map01: npt.NDArray[np.float32]
    mask: npt.NDArray[np.bool_]
    score: float
    p_value: float
    label: int


def require_new(output: Path) -> None:
    """Refuse a folder that holds predictions, and what is no folder.

    Raises:
        InputError: If it is one of these.
    """
    if output.exists() and not output.is_dir():
        raise InputError(f"--output {output} is a file, which stays: name a folder.")
    if any((output / name).exists() for name in PARTS):
        raise InputError(f"--output {output} holds predictions already, which stay: name another folder.")


def find_samples(input: Path, on_error: Literal["stop", "skip"]) -> tuple[list[Sample], list[Path]]:
    """Find images that can be read, and name their pictures.

    Raises:
        InputError: If there are none, or one cannot be read and ``on_error`` is ``stop``.
    """
    root, paths = input_images(input)
    samples = check([Sample(path, "test") for path in paths], on_error)
    return samples, unique_names([relative(s.path, root) for s in samples], ".png")


def input_images(path: Path) -> tuple[Path, list[Path]]:
    """List the images that a file, folder or pattern names, and the folder below which names are kept."""
    if path.is_file():
        return path.parent, [path]
    if not path.is_dir() and not split_pattern(path)[1]:
        raise InputError(f"--input {path} does not exist: give an image, a folder or a pattern like 'photos/*.png'.")
    source = find_images("--input", path)
    return source.base, source.images


def write_judged(judged: Iterable[Judged], output: Path) -> Path:
    """Write the table's row, the heatmap, the overlay and the mask of each image as it comes.

    What was judged before an error or Ctrl-C is kept.
    """
    remaining = iter(judged)
    first = list(islice(remaining, 1))  # what fails before leaves no folder behind
    table, labels = output / PARTS[0], Counter[int]()
    stopped: BaseException | None = None
    with csv_table(table) as write:
        try:
            write_each(chain(first, remaining), output, write, labels)
        except BaseException as error:
            stopped = error
    print(f"Anomalous: {labels[ANOMALOUS]} of {labels.total()}. Table and pictures: {output}")
    if stopped:
        raise stopped
    return table


def write_each(judged: Iterable[Judged], output: Path, write: Callable[[Row], None], labels: Counter[int]) -> None:
    """Write rows and pictures, and count labels."""
    writing: deque[Future[None]] = deque()
    threads = default_threads()
    with ThreadPoolExecutor(threads) as pool:  # Pillow packs PNGs without holding the GIL
        for one in judged:
            write((one.path, one.score, one.p_value, one.label))
            labels[one.label] += 1
            writing.append(pool.submit(write_pictures, one, output))
            if len(writing) > 2 * threads:
                writing.popleft().result()
        for future in writing:
            future.result()


def write_pictures(one: Judged, output: Path) -> None:
    """Write heatmap, overlay and mask of an image, at its size."""
    picture = one.picture() if callable(one.picture) else one.picture
    write_prediction_images(output, one.name, picture, one.map01, one.mask)
