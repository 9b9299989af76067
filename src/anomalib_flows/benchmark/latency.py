"""``anomalib-flows latency``: how long a model takes on this machine."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from tqdm import tqdm

from anomalib_flows.core.errors import InputError, require
from anomalib_flows.core.files import atomic
from anomalib_flows.core.images import Pixels, read_pixels
from anomalib_flows.core.timing import Spent
from anomalib_flows.core.types import ImageSize
from anomalib_flows.data.datasets.base import parse_size
from anomalib_flows.data.listing.sources import find_images
from anomalib_flows.run.directory import is_exported

LARGEST = 10000
"""Longest side of an image to measure with."""
SHOWN = 20
"""Images that are read to measure with, at most."""
BUSY = 0.25
"""Share of busy cores from which on figures come with a remark."""
TIMES = {
    "precision": "precision",
    "median_ms": "median ms",
    "p90_ms": "90 % ms",
    "p99_ms": "99 % ms",
    "calls": "inferences",
    "images_per_second": "images/s",
    "requests": "at once",
}
"""Columns of the table, by what they show."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to measure.

    Args:
        device: Where to compute.
        images: Images to measure with; if there are none, noise is taken.
        image_size: Height and width of the noise.
        streams: Requests that are computed at the same time, None to let OpenVINO choose.
        seconds: How long each measurement goes on.
        precisions: What to compute in, None for all that there are.
    """

    device: str
    images: list[Pixels]
    image_size: ImageSize | None
    streams: int | None
    seconds: float
    precisions: list[str] | None


def latency(
    run: Path,
    device: str = "CPU",
    image_size: int | str | None = None,
    images: Path | None = None,
    streams: int | str = "auto",
    seconds: float = 5.0,
    precisions: str | None = None,
    output: Path | None = None,
) -> dict[str, Any]:
    """Measure how long one image takes, how many are done in a second, in which part time goes, and memory.

    From an image in memory to decisions in memory; reading and decoding files are not in it. Of a run, the model is
    measured in torch, one image after the other.

    Args:
        run: Run directory that 'train' wrote, or exported model (.xml).
        device: Where to compute: CPU, GPU or NPU, as OpenVINO names them; for a run cpu or cuda.
        image_size: Height and width of the photos, such as 1080,1920. By default those that the model resizes to.
        images: Photos to measure with, instead of noise: image, folder or pattern; the first 20 are taken.
        streams: How many images are computed at the same time where images per second are counted; of exported
            models only.
        seconds: How long each measurement goes on.
        precisions: What to compute in, such as f32,bf16. By default all that the device has.
        output: New or old JSON file for the figures.

    Returns:
        The figures, as they are written.

    Raises:
        InputError: If the model or the device cannot be used, or a number is of no use.
    """
    load = others_load()
    options = read_options(device, image_size, images, streams, seconds, precisions)
    require(output is None or may_be_file(output), "--output", output, "a file in a folder, such as latency.json")
    if is_exported(run):
        from anomalib_flows.benchmark.latency_exported import measure_exported  # openvino is an optional extra

        measured = measure_exported(run, options)
    else:
        from anomalib_flows.benchmark.latency_run import measure_run  # torch takes seconds to import

        measured = measure_run(run, options)
    figures = {"model": str(run), **measured, "load": load}
    print(described(figures))
    if output:
        with atomic(output) as temporary:
            temporary.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
        print(f"\n{output}")
    return figures


def read_options(
    device: str,
    image_size: int | str | None,
    images: Path | None,
    streams: int | str,
    seconds: float,
    precisions: str | None,
) -> Options:
    """Check what the options say, and read the photos.

    Raises:
        InputError: If a number is of no use, or there are no photos.
    """
    require(isfinite(seconds) and seconds > 0, "--seconds", seconds, "above 0")
    counted = re.fullmatch(r"0*[1-9]\d*", str(streams))
    require(streams == "auto" or counted is not None, "--streams", streams, "at least 1, or auto")
    if images is not None and image_size is not None:
        raise InputError("Give --images or --image_size, not both: photos have a size.")
    size = None if image_size is None else parse_size(image_size, "--image_size")
    require(size is None or max(size) <= LARGEST, "--image_size", image_size, f"at most {LARGEST}")
    found = [] if images is None else [images] if images.is_file() else find_images("--images", images).images[:SHOWN]
    return Options(
        device=device,
        images=[read_pixels(path) for path in found],
        image_size=size,
        streams=int(counted[0]) if counted else None,
        seconds=seconds,
        precisions=None if precisions is None else [name.strip().lower() for name in precisions.split(",")],
    )


def may_be_file(path: Path) -> bool:
    """Whether a path is a file or can become one: it is no folder, and does not lie below a file."""
    return not path.is_dir() and next(above for above in path.absolute().parents if above.exists()).is_dir()


def choose_precisions(asked: list[str] | None, available: list[str], device: str) -> list[str]:
    """Return what to compute in.

    Raises:
        InputError: If the device does not have it.
    """
    for name in asked or []:
        require(
            name in available, "--precisions", name or "empty", f"of those that {device} has: {', '.join(available)}"
        )
    return list(dict.fromkeys(asked or available))


@contextmanager
def progress(seconds: float) -> Iterator[Spent]:
    """Show how far measuring is, and how long it will take; what it yields is told of the seconds that go by."""
    shape = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}"
    with tqdm(total=seconds, desc="Measuring", bar_format=shape, leave=False, delay=2, disable=None) as bar:
        yield lambda spent: bar.update(min(spent, seconds - bar.n))


def others_load() -> float | None:
    """How many cores were busy in the last minute; None where the system does not tell."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def described(figures: dict[str, Any]) -> str:
    """Describe figures in lines of text."""
    sizes, machine, rows = figures["image_sizes"], figures["machine"], figures["rows"]
    size = " x ".join(map(str, sizes[0])) if len(sizes) == 1 else f"{len(sizes)} sizes"
    threads = f", {machine['threads']} threads" if machine["threads"] else ""
    lines = [
        f"{figures['model']}, images of {size}"
        + (f", {figures['batch']} in each inference" if figures["batch"] > 1 else ""),
        f"{machine['device']}{threads} on {machine['cores']} cores, {machine['software']}",
        "",
        aligned([list(TIMES.values()), *([shown(row.get(key)) for key in TIMES] for row in rows)]),
        "",
        aligned([["ms in", *rows[0]["parts_ms"]], *([row["precision"], *shares(row["parts_ms"])] for row in rows)]),
    ]
    if memory := figures["memory"]:
        lines += ["", f"memory {memory['peak_mib']:.0f} MiB at most, of which the model {memory['model_mib']:.0f} MiB"]
    if (figures["load"] or 0.0) > BUSY * machine["cores"]:
        lines.append(f"The machine was busy before (load {figures['load']:.1f}): alone, the model may be faster.")
    return "\n".join(lines)


def shares(parts: dict[str, float]) -> list[str]:
    """Write milliseconds with their share of the sum.

    Example:
        >>> shares({"encoder": 3.0, "flow": 1.0})
        ['3.00 (75 %)', '1.00 (25 %)']
    """
    total = sum(parts.values()) or 1.0
    return [f"{value:.2f} ({value / total:.0%})".replace("%", " %") for value in parts.values()]


def shown(value: Any) -> str:
    """Write a value of the table."""
    return "" if value is None else f"{value:.2f}" if isinstance(value, float) else str(value)


def aligned(rows: list[list[str]]) -> str:
    """Align columns: the first to the left, all others to the right; empty columns are left out.

    Example:
        >>> print(aligned([["a", "ms", "none"], ["long", "1.5", ""]]))
        a      ms
        long  1.5
    """
    columns = [column for column in zip(*rows, strict=True) if any(column[1:])]
    widths = [max(map(len, column)) for column in columns]
    sides = [str.ljust, *[str.rjust] * (len(columns) - 1)]
    lines = zip(
        *([side(cell, w) for cell in c] for c, w, side in zip(columns, widths, sides, strict=True)), strict=True
    )
    return "\n".join("  ".join(line).rstrip() for line in lines)
