"""Measure how many images per second are read, and the time of each step of reading.

python tools/benchmarks/measure_reading.py FOLDER [--size 256] [--batch 16] [--rounds 3] [--cores 2]

All images of a folder are read with several numbers of threads, with as many worker processes of torch's DataLoader,
and from each cache. All take turns, because the machine may have other work; the median of the rounds counts.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch.utils.data import DataLoader

from anomalib_flows.core.finding import image_files
from anomalib_flows.core.preprocess import resize
from anomalib_flows.core.types import ImageSize, Sample
from anomalib_flows.data.loading.loader import Loader, collate, read_resized
from anomalib_flows.run.options import ImageOptions, LoaderOptions

Ways = Callable[[], Iterable[Any]]


def parts(paths: list[Path], size: ImageSize) -> dict[str, float]:
    """Return the milliseconds per image of each step of reading."""
    spent: dict[str, float] = defaultdict(float)

    def timed(name: str, step: Callable[[], Any]) -> Any:
        begin = time.perf_counter()
        result = step()
        spent[name] += 1000 * (time.perf_counter() - begin) / len(paths)
        return result

    for path in paths:
        image = timed("open", lambda: Image.open(path))  # noqa: B023 (called at once)
        timed("decode", image.load)
        timed("turn upright", lambda: ImageOps.exif_transpose(image, in_place=True))  # noqa: B023
        rgb = timed("to RGB", lambda: image.convert("RGB"))  # noqa: B023
        pixels = timed("to tensor", lambda: torch.from_numpy(np.array(rgb)).permute(2, 0, 1))  # noqa: B023
        timed("resize", lambda: resize(pixels, size))  # noqa: B023
    return dict(spent)


class Items:
    """Dataset of torch: samples that are read one by one."""

    def __init__(self, samples: list[Sample], image: ImageOptions) -> None:
        self.samples, self.image = samples, image

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Any:
        sample = self.samples[index]
        return sample, read_resized(sample, self.image)


def together(pairs: list[Any]) -> Any:
    """Collate samples and items to a batch."""
    samples, items = zip(*pairs, strict=True)
    return collate(list(samples), list(items))


def readers(samples: list[Sample], options: argparse.Namespace) -> dict[str, Ways]:
    """Return the ways to read all images once, by name; caches are filled before."""
    image = ImageOptions(size=options.size)

    def threads(count: int, cache: Any = "none", seed: int | None = None) -> Loader:
        return Loader(samples, image, LoaderOptions(batch_size=options.batch, workers=count, cache=cache), seed)

    def processes(count: int) -> Iterable[Any]:
        return DataLoader(Items(samples, image), options.batch, num_workers=count, collate_fn=together)  # type: ignore[arg-type]

    ways: dict[str, Ways] = {"one after the other": partial(threads, 0)}
    for count in sorted({1, options.cores}):
        ways[f"{count} worker processes"] = partial(processes, count)
        ways[f"{count} threads"] = partial(threads, count)
    for cache in ("memory", "disk"):
        filled = threads(options.cores, cache, seed=0)
        for _ in filled:
            pass
        ways[f"{options.cores} threads, cache in {cache}"] = partial(iter, filled)
    return ways


def measure(ways: dict[str, Ways], count: int, rounds: int) -> dict[str, list[float]]:
    """Return the images per second of each way in each round."""
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            begin = time.perf_counter()
            for _ in way():
                pass
            rates[name].append(count / (time.perf_counter() - begin))
    return rates


def parse() -> argparse.Namespace:
    """Parse the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cores", type=int, default=os.cpu_count() or 1)
    return parser.parse_args()


def main() -> None:
    """Print the time of each step, and the table of all ways to read."""
    options = parse()
    paths = image_files(options.folder, recursive=True)
    print(f"{len(paths)} images, the first of {Image.open(paths[0]).size} pixels")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for name, spent in parts(paths, (options.size, options.size)).items():
        print(f"  {name:14} {spent:7.2f} ms")
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        os.environ["XDG_CACHE_HOME"] = temporary
        ways = readers([Sample(path, "train") for path in paths], options)
        show(measure(ways, len(paths), options.rounds))


def show(rates: dict[str, list[float]]) -> None:
    """Print the table."""
    base = median(rates["one after the other"])
    print("| read | images/s (least to most) | ratio |\n|---|---|---|")
    for name, found in rates.items():
        print(f"| {name} | {median(found):.1f} ({min(found):.1f} to {max(found):.1f}) | {median(found) / base:.2f} |")


if __name__ == "__main__":
    main()
