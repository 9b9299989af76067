"""Measure pixel metrics of maps beside torchmetrics' and anomalib's: value, CPU time and memory, as a Markdown table.

    python tools/benchmarks/compare_metrics.py --ours PYTHON --anomalib PYTHON

Each row is a process of one thread, which draws the same maps batch by batch, so that no implementation holds more of
them than it keeps. Scores are in [0, 1], because torchmetrics changes others. Memory is the peak above that after the
imports and the first batch. Time is that of `update` and `compute`.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import numpy as np
import torch

BATCH, SIZE, DEFECTIVE = 25, 256, 0.6
OURS = {
    "AUROC": ("AUROC", {}),
    "average precision": ("AveragePrecision", {}),
    "F1 max": ("F1Max", {}),
    "AUPRO": ("AUPRO", {}),
    "AUPIMO": ("AUPIMO", {}),
}
BINNED = {name: (kind, {"thresholds": 1000}) for name, (kind, _) in OURS.items() if name != "AUPIMO"}
TORCHMETRICS = {
    "AUROC": ("BinaryAUROC", {}),
    "average precision": ("BinaryAveragePrecision", {}),
    "F1 max": ("BinaryPrecisionRecallCurve", {}),
}
ANOMALIB = {
    "AUROC": ("auroc:_AUROC", {}),
    "average precision": ("aupr:_AUPR", {}),
    "F1 max": ("f1_score:_F1Max", {}),
    "AUPRO": ("aupro:_AUPRO", {}),
    "AUPIMO": ("pimo.pimo:_AUPIMO", {"return_average": True}),
}
PACKAGES = {
    "ours, exact": ("anomalib_flows.metrics", OURS),
    "ours, 1000 thresholds": ("anomalib_flows.metrics", BINNED),
    "torchmetrics": ("torchmetrics.classification", TORCHMETRICS),
    "anomalib": ("anomalib.metrics", ANOMALIB),
}


def main() -> None:
    """Print the table, or measure one row of it in this process."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ours", default=sys.executable, help="Python interpreter with anomalib-flows")
    parser.add_argument("--anomalib", help="Python interpreter with anomalib")
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--row", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.row:
        print(json.dumps(measured(*args.row, args.images)))
        return
    print("| metric | by | value | CPU seconds | memory, GB |\n|---|---|---|---|---|")
    for metric in OURS:
        for by, (_, metrics) in PACKAGES.items():
            python = args.anomalib if by == "anomalib" else args.ours
            if metric in metrics and python:
                print(row(python, by, metric, args.images), flush=True)


def row(python: str, by: str, metric: str, images: int) -> str:
    """Return the row of a metric that a process has measured."""
    command = [python, __file__, "--images", str(images), "--row", by, metric]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    if done.returncode:
        return f"| {metric} | {by} | fails: {done.stderr.strip().splitlines()[-1]} | | |"
    found = json.loads(done.stdout.splitlines()[-1])
    bounds = f" (between {found['low']:.6f} and {found['high']:.6f})" if "low" in found else ""
    return f"| {metric} | {by} | {found['value']:.6f}{bounds} | {found['seconds']:.1f} | {found['memory']:.2f} |"


def measured(by: str, name: str, images: int) -> dict[str, float]:
    """Measure a metric in this process."""
    torch.set_num_threads(1)
    metric = made(by, name)
    start, spent = None, 0.0
    for preds, target in batches(images):
        start = start or peak()
        begun = time.process_time()
        metric.update(preds, target)
        spent += time.process_time() - begun
    begun = time.process_time()
    value = metric.compute()
    spent += time.process_time() - begun
    bounds = dict(zip(("low", "high"), map(float, metric.bounds()), strict=True)) if "thresholds" in by else {}
    value = best_f1(*value[:2]) if isinstance(value, tuple) else float(value)
    return {"value": value, "seconds": spent, "memory": peak() - start, **bounds}


def made(by: str, name: str) -> Any:
    """Return a metric of a package."""
    package, metrics = PACKAGES[by]
    path, options = metrics[name]
    module, _, kind = path.rpartition(":")
    make: Callable[..., Any] = getattr(import_module(".".join(filter(None, (package, module)))), kind)
    if "thresholds" in options:
        options = {"thresholds": torch.linspace(0, 1, options["thresholds"])}
    return make(**options)


def batches(images: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Draw maps in [0, 1] with masks of one to three discs, the same in each process."""
    rng = np.random.default_rng(0)
    grid = np.mgrid[:SIZE, :SIZE]
    for start in range(0, images, BATCH):
        masks = np.zeros((min(BATCH, images - start), SIZE, SIZE), bool)
        for i in range(len(masks)):
            for _ in range(rng.integers(1, 4) if (start + i) % 5 < 5 * DEFECTIVE else 0):
                centre, radius = rng.uniform(0, SIZE, 2), rng.uniform(3, 25)
                masks[i] |= np.hypot(*(grid - centre[:, None, None])) < radius
        scores = 1 / (1 + np.exp(-rng.standard_normal(masks.shape, np.float32) - 2 * masks))
        yield torch.from_numpy(scores.astype(np.float32)), torch.from_numpy(masks.astype(np.int64))


def best_f1(precision: torch.Tensor, recall: torch.Tensor) -> float:
    """Return the highest F1 of a curve."""
    return float((2 * precision * recall / (precision + recall).clamp(min=1e-30)).max())


def peak() -> float:
    """Return the highest memory of this process so far, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    main()
