"""Time FastFlow beside anomalib's, side by side in one run: a Markdown table.

Each implementation lives in an environment of its own, with the same torch, and in a process of its own that stays
alive. The two take turns, one call each, in an order that is swapped every time, so that whatever else the machine
does meets both alike: trust the ratios, not the milliseconds. Encoders and flows are the same, with random weights.

    python tools/compare_with_anomalib.py --ours PYTHON --anomalib PYTHON
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

KERNELS = {"resnet18": (3,), "wide_resnet50_2": (3, 1)}
ROWS = {"inference of one image": "infer", "training step": "train"}  # peak memory only grows: small rows first
WARM_UP = 3
COLUMNS = ["backbone", "measured", "ours, ms per image", "anomalib, ms per image", "anomalib / ours"]
COLUMNS += ["ours, peak MiB", "anomalib, peak MiB"]


@dataclass
class Setting:
    backbone: str
    batch: int
    size: int
    threads: int


# --- A worker: one implementation in one process -------------------------------------------------------------------


class Ours:
    def __init__(self, setting: Setting) -> None:
        from anomalib_flows import __version__
        from anomalib_flows.models.fastflow import FastFlow

        size = (setting.size, setting.size)
        kernels = KERNELS[setting.backbone]
        self.version = __version__
        self.model = FastFlow(size, setting.backbone, weights="random", kernel_sizes=kernels)
        self.optimizer = self.model.optimizer()

    def loss(self, images: Any) -> Any:
        return self.model.loss(self.model.encode(images))

    def predict(self, images: Any) -> Any:
        maps = self.model.anomaly_map(self.model.encode(images))
        return maps.amax((-2, -1)), maps


class Anomalib:
    def __init__(self, setting: Setting) -> None:
        import anomalib
        import torch
        from anomalib.models.image.fastflow.loss import FastflowLoss
        from anomalib.models.image.fastflow.torch_model import FastflowModel

        size = (setting.size, setting.size)
        only_3x3 = KERNELS[setting.backbone] == (3,)
        self.version = anomalib.__version__
        self.model = FastflowModel(size, setting.backbone, pre_trained=False, conv3x3_only=only_3x3)
        self.criterion = FastflowLoss()
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3, weight_decay=1e-5)

    def loss(self, images: Any) -> Any:
        return self.criterion(*self.model(images))

    def predict(self, images: Any) -> Any:
        return self.model(images)


def work(name: str, setting: Setting) -> None:
    """Introduce the implementation, then time one call for each line that comes in."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries may print, but not between our replies
    import torch

    torch.set_num_threads(setting.threads)
    torch.manual_seed(0)
    implementation = {"ours": Ours, "anomalib": Anomalib}[name](setting)
    trained = sum(p.numel() for p in implementation.model.parameters() if p.requires_grad)
    about = {"version": implementation.version, "torch": torch.__version__, "parameters": trained}
    print(json.dumps(about), file=replies, flush=True)

    images = torch.randn(setting.batch, 3, setting.size, setting.size)
    calls = {"train": lambda: train(implementation, images), "infer": lambda: infer(implementation, images[:1])}
    for command in map(str.strip, sys.stdin):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"seconds": timed(calls[command]), "peak": peak}), file=replies, flush=True)


def timed(call: Callable[[], None]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def train(implementation: Any, images: Any) -> None:
    implementation.model.train()
    implementation.loss(images).backward()
    implementation.optimizer.step()
    implementation.optimizer.zero_grad()


def infer(implementation: Any, image: Any) -> None:
    import torch

    implementation.model.eval()
    with torch.inference_mode():
        implementation.predict(image)


# --- The parent: turns and table -----------------------------------------------------------------------------------


class Worker:
    def __init__(self, python: str, name: str, setting: Setting) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": str(setting.threads), "MKL_NUM_THREADS": str(setting.threads)}
        command = [python, str(Path(__file__)), "worker", name, json.dumps(asdict(setting))]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(command, env=environment, **pipes)
        self.about = self.reply()

    def ask(self, command: str) -> Any:
        print(command, file=self.process.stdin, flush=True)
        return self.reply()

    def reply(self) -> Any:
        return json.loads(self.process.stdout.readline())

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def compare(pythons: dict[str, str], setting: Setting, repeats: int) -> Iterator[list[str]]:
    """Yield the rows of one backbone."""
    workers = {name: Worker(python, name, setting) for name, python in pythons.items()}
    check_alike(setting, *(worker.about for worker in workers.values()))
    for title, command in ROWS.items():
        replies = take_turns(workers, command, repeats)
        ours, theirs = ([reply["seconds"] for reply in replies[name]] for name in workers)
        per_image = 1000 / (setting.batch if command == "train" else 1)
        ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
        spreads = [spread([per_image * s for s in ours]), spread([per_image * s for s in theirs]), spread(ratios)]
        yield [setting.backbone, title, *spreads, *(f"{replies[name][-1]['peak']:.0f}" for name in workers)]
    for worker in workers.values():
        worker.close()


def check_alike(setting: Setting, ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Refuse to compare what differs in torch or architecture."""
    for key in ("torch", "parameters"):
        if ours[key] != theirs[key]:
            sys.exit(f"{setting.backbone} cannot be compared: {key} {ours[key]} here, {theirs[key]} in anomalib.")
    print(
        f"{setting.backbone}: {ours['parameters']:,} trained parameters in both; anomalib-flows {ours['version']}, "
        f"anomalib {theirs['version']}, torch {ours['torch']} in both\n"
    )


def take_turns(workers: dict[str, Worker], command: str, repeats: int) -> dict[str, list[Any]]:
    """Call the workers one after the other, in an order that is swapped every time."""
    replies: dict[str, list[Any]] = {name: [] for name in workers}
    order = list(workers)
    for _ in range(WARM_UP + repeats):
        for name in order:
            replies[name].append(workers[name].ask(command))
        order.reverse()
    return {name: all_replies[WARM_UP:] for name, all_replies in replies.items()}


def spread(values: list[float]) -> str:
    """Median and quartiles."""
    low, median, high = (f"{quartile:.4g}" for quartile in statistics.quantiles(values, n=4, method="inclusive"))
    return f"{median} ({low} to {high})"


def processor() -> str:
    """Name of the processor, where Linux tells it."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ours", required=True, help="Python interpreter that has anomalib-flows")
    parser.add_argument("--anomalib", required=True, help="Python interpreter that has anomalib")
    parser.add_argument("--backbones", nargs="+", default=list(KERNELS), choices=list(KERNELS))
    parser.add_argument("--batch", type=int, default=8, help="images of a training step")
    parser.add_argument("--size", type=int, default=256, help="height and width of the images")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    args = parser.parse_args()
    print(f"{processor()}, {args.threads} threads, float32, {args.size} x {args.size}, batch {args.batch}\n")
    rows = []
    for backbone in args.backbones:
        setting = Setting(backbone, args.batch, args.size, args.threads)
        rows += compare({"ours": args.ours, "anomalib": args.anomalib}, setting, args.repeats)
    for row in [COLUMNS, ["---"] * len(COLUMNS), *rows]:
        print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        work(sys.argv[2], Setting(**json.loads(sys.argv[3])))
    else:
        main()
