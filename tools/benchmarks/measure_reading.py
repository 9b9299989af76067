"""Measure how many images a second are read, and what the time goes to.

python tools/measure_reading.py FOLDER [--size 256] [--batch 16] [--rounds 3] [--cores 2]

All images in a folder are read with several numbers of threads, with as many worker processes of torch's DataLoader and
from each cache. All take turns, for the machine may have other work; the median of the rounds counts.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch.utils.data import DataLoader

from anomalib_flows.core.images import image_files
from anomalib_flows.core.preprocess import resize
from anomalib_flows.core.types import ImageSize, Sample
from anomalib_flows.data.datasets.folder import Folder
from anomalib_flows.data.loading.loader import Loader, collate, loader, read_resized


def parts(paths: list[Path], size: ImageSize) -> dict[str, float]:
    """Milliseconds that each step of reading takes for an image."""
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
    """What a DataLoader takes: samples that are read one by one."""

    def __init__(self, samples: list[Sample], data: Folder) -> None:
        self.samples, self.data = samples, data

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Any:
        sample = self.samples[index]
        return sample, read_resized(sample, self.data.size, self.data.resize)


def together(pairs: list[Any]) -> Any:
    samples, items = zip(*pairs, strict=True)
    return collate(list(samples), list(items))


def readers(samples: list[Sample], folder: Path, options: argparse.Namespace) -> dict[str, Callable[[], Iterable[Any]]]:
    """Ways to read all images once; caches are filled before."""

    def data(workers: int, cache: Any = "none") -> Folder:
        return Folder(normal=folder, image_size=options.size, batch_size=options.batch, workers=workers, cache=cache)

    def processes(count: int) -> Iterable[Any]:
        return DataLoader(Items(samples, data(0)), options.batch, num_workers=count, collate_fn=together)  # type: ignore[arg-type]

    def cached(kind: str) -> Loader:
        made = loader(samples, data(options.cores, kind), shuffle_seed=0)
        for _ in made:
            pass
        return made

    ways: dict[str, Callable[[], Iterable[Any]]] = {"one after the other": lambda: loader(samples, data(0))}
    for count in sorted({1, options.cores}):
        ways[f"{count} worker processes"] = lambda count=count: processes(count)  # type: ignore[misc]
        ways[f"{count} threads"] = lambda count=count: loader(samples, data(count))  # type: ignore[misc]
    for kind in ("memory", "disk"):
        made = cached(kind)
        ways[f"{options.cores} threads, cache in {kind}"] = lambda made=made: made  # type: ignore[misc]
    return ways


def measure(ways: dict[str, Callable[[], Iterable[Any]]], count: int, rounds: int) -> dict[str, list[float]]:
    """Images per second of each way in each round."""
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            begin = time.perf_counter()
            for _ in way():
                pass
            rates[name].append(count / (time.perf_counter() - begin))
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cores", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    paths = image_files(options.folder, recursive=True)
    samples = [Sample(path, "train") for path in paths]
    print(f"{len(paths)} images, the first of {Image.open(paths[0]).size} pixels")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for name, spent in parts(paths, (options.size, options.size)).items():
        print(f"  {name:14} {spent:7.2f} ms")
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        os.environ["XDG_CACHE_HOME"] = temporary
        rates = measure(readers(samples, options.folder, options), len(paths), options.rounds)
    base = median(rates["one after the other"])
    print("| read | images/s (least to most) | ratio |\n|---|---|---|")
    for name, found in rates.items():
        print(f"| {name} | {median(found):.1f} ({min(found):.1f} to {max(found):.1f}) | {median(found) / base:.2f} |")


if __name__ == "__main__":
    main()
