"""Time FastFlow or CFLOW beside anomalib's, side by side in one run: a Markdown table.

Each implementation lives in an environment of its own, with the same torch, and in a process of its own that stays
alive. The two take turns, one call each, in an order that is swapped every time, so that whatever else the machine
does meets both alike: trust the ratios, not the milliseconds. Encoders and flows are the same, with random weights.

    python tools/compare_with_anomalib.py --ours PYTHON --anomalib PYTHON --model cflow

In the rows of bfloat16 ours computes in bfloat16, and anomalib in float32, as it does unless exported.
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
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

KERNELS = {"resnet18": (3,), "wide_resnet50_2": (3, 1)}
STAGES = {"resnet18": (1, 2, 3), "wide_resnet50_2": (2, 3, 4)}
"""Stages of the encoder that CFLOW takes: timm's feature maps, which anomalib calls layer1 to layer4."""
WARM_UP = 3
COLUMNS = ["backbone", "measured", "ours, ms per image", "anomalib, ms per image", "anomalib / ours"]
COLUMNS += ["ours, peak MiB", "anomalib, peak MiB", "trained parameters"]


@dataclass
class Setting:
    model: str
    backbone: str
    batch: int
    size: int
    threads: int


# --- A worker: one implementation in one process -------------------------------------------------------------------


class OurFastFlow:
    def __init__(self, setting: Setting) -> None:
        self.model = self.make(setting, (setting.size, setting.size))
        self.optimizer = self.model.optimizer()

    def make(self, setting: Setting, size: tuple[int, int]) -> Any:
        from anomalib_flows import FastFlow

        recipe = FastFlow.published | {"kernel_sizes": KERNELS[setting.backbone]}  # as anomalib's
        return FastFlow(size, setting.backbone, weights="random", **recipe)

    def train(self, images: Any) -> None:
        for batch in self.model.training_batches(self.model.encode(images)):
            self.model.loss(batch).backward()
            self.optimizer.step()
            self.optimizer.zero_grad()

    def predict(self, images: Any) -> Any:
        maps = self.model.anomaly_map(self.model.encode(images))
        return maps.amax((-2, -1)), maps


class OurCFlow(OurFastFlow):
    def make(self, setting: Setting, size: tuple[int, int]) -> Any:
        from anomalib_flows import CFlow

        recipe = {"norm": "none", "local_scale": 0.0, "layers": list(STAGES[setting.backbone])}  # as anomalib's
        return CFlow(size, setting.backbone, weights="random", **recipe)


class AnomalibFastFlow:
    def __init__(self, setting: Setting) -> None:
        import torch
        from anomalib.models.image.fastflow.loss import FastflowLoss
        from anomalib.models.image.fastflow.torch_model import FastflowModel

        size = (setting.size, setting.size)
        only_3x3 = KERNELS[setting.backbone] == (3,)
        self.model = FastflowModel(size, setting.backbone, pre_trained=False, conv3x3_only=only_3x3)
        self.criterion = FastflowLoss()
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3, weight_decay=1e-5)

    def train(self, images: Any) -> None:
        self.criterion(*self.model(images)).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()

    def predict(self, images: Any) -> Any:
        return self.model(images)


def anomalib_cflow(backbone: str, layers: list[Any]) -> Any:
    """Make anomalib's module so that its training step, which steps the optimizer itself, needs no trainer."""
    from anomalib.models import Cflow

    module: Any = Cflow(backbone, layers, pre_trained=False)
    optimizer = module.configure_optimizers()
    module.optimizers = lambda: optimizer
    module.manual_backward = lambda loss: loss.backward()
    module.log = lambda *_, **__: None
    return module


class AnomalibCFlow:
    def __init__(self, setting: Setting) -> None:
        self.module = anomalib_cflow(setting.backbone, [f"layer{i}" for i in STAGES[setting.backbone]])
        self.model = self.module.model

    def train(self, images: Any) -> None:
        from types import SimpleNamespace

        self.module.training_step(SimpleNamespace(image=images))

    def predict(self, images: Any) -> Any:
        return self.model(images)


IMPLEMENTATIONS: dict[tuple[str, str], Any] = {
    ("ours", "fastflow"): OurFastFlow,
    ("ours", "cflow"): OurCFlow,
    ("anomalib", "fastflow"): AnomalibFastFlow,
    ("anomalib", "cflow"): AnomalibCFlow,
}


def train(implementation: Any, images: Any) -> int:
    implementation.model.train()
    implementation.train(images)
    return len(images)


def infer(implementation: Any, images: Any) -> int:
    import torch

    implementation.model.eval()
    with torch.inference_mode():
        implementation.predict(images[:1].to(next(implementation.model.parameters()).dtype))
    return 1


def infer_bfloat16(implementation: Any, images: Any) -> int:
    if isinstance(implementation, OurFastFlow):
        for part in implementation.model.children():
            part.bfloat16()
    return infer(implementation, images)


# What is measured: each does its work once and returns the number of images. The frugal first, as peaks only grow;
# bfloat16 last, as weights stay so.
ROWS = {"inference, batch 1": infer, "training step": train, "inference, batch 1, bfloat16": infer_bfloat16}


def work(name: str, setting: Setting) -> None:
    """Introduce the implementation, then time one call for each line that comes in."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries may print, but not between our replies
    import torch

    torch.set_num_threads(setting.threads)
    torch.manual_seed(0)
    implementation = IMPLEMENTATIONS[name, setting.model](setting)
    trained = sum(p.numel() for p in implementation.model.parameters() if p.requires_grad)
    package = {"ours": "anomalib-flows", "anomalib": "anomalib"}[name]
    about = {"version": version(package), "torch": torch.__version__, "parameters": trained}
    print(json.dumps(about), file=replies, flush=True)

    images = torch.randn(setting.batch, 3, setting.size, setting.size)
    for row in map(str.strip, sys.stdin):
        start = time.perf_counter()
        count = ROWS[row](implementation, images)
        milliseconds = 1000 * (time.perf_counter() - start) / count
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"milliseconds": milliseconds, "peak": peak}), file=replies, flush=True)


# --- The parent: turns and table -----------------------------------------------------------------------------------


class Worker:
    def __init__(self, python: str, name: str, setting: Setting) -> None:
        self.name = name
        environment = os.environ | {"OMP_NUM_THREADS": str(setting.threads), "MKL_NUM_THREADS": str(setting.threads)}
        command = [python, __file__, "worker", name, json.dumps(asdict(setting))]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process: Any = subprocess.Popen(command, env=environment, **pipes)
        self.about = self.reply()

    def measure(self, row: str) -> Any:
        print(row, file=self.process.stdin, flush=True)
        return self.reply()

    def reply(self) -> Any:
        line = self.process.stdout.readline()
        return json.loads(line) if line else sys.exit(f"The process of {self.name} ended early: see its error above.")

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def compare(pythons: dict[str, str], setting: Setting, rows: list[str], repeats: int) -> Iterator[list[str]]:
    """Yield the table's rows for one backbone."""
    workers = [Worker(python, name, setting) for name, python in pythons.items()]
    check_alike(setting.backbone, *(worker.about for worker in workers))
    for row in [row for row in ROWS if row in rows]:
        ours, theirs = take_turns(workers, row, repeats)
        times = [[reply["milliseconds"] for reply in replies] for replies in (ours, theirs)]
        ratios = [their_time / our_time for our_time, their_time in zip(*times, strict=True)]
        peaks = [f"{replies[-1]['peak']:.0f}" for replies in (ours, theirs)]
        yield [setting.backbone, row, *map(spread, [*times, ratios]), *peaks, f"{workers[0].about['parameters']:,}"]
    for worker in workers:
        worker.close()


def check_alike(backbone: str, ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Refuse to compare what differs in torch or architecture."""
    for key in ("torch", "parameters"):
        if ours[key] != theirs[key]:
            sys.exit(f"{backbone} cannot be compared: {key} {ours[key]} in ours, {theirs[key]} in anomalib.")
    versions = f"anomalib-flows {ours['version']}, anomalib {theirs['version']}, torch {ours['torch']} in both"
    print(f"{backbone}: {versions}", file=sys.stderr)


def take_turns(workers: list[Worker], row: str, repeats: int) -> list[list[Any]]:
    """Return each worker's replies; one call each in turn, in an order that is swapped every time."""
    replies: dict[str, list[Any]] = {worker.name: [] for worker in workers}
    for turn in range(WARM_UP + repeats):
        for worker in workers[:: -1 if turn % 2 else 1]:
            replies[worker.name].append(worker.measure(row))
    return [all_replies[WARM_UP:] for all_replies in replies.values()]


def spread(values: list[float]) -> str:
    """Median and quartiles."""
    low, median, high = (f"{quartile:.3g}" for quartile in statistics.quantiles(values, n=4, method="inclusive"))
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
    parser.add_argument("--model", default="fastflow", choices=["fastflow", "cflow"])
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=list(ROWS))
    parser.add_argument("--backbones", nargs="+", default=list(KERNELS), choices=list(KERNELS))
    parser.add_argument("--batch", type=int, default=8, help="images of a training step")
    parser.add_argument("--size", type=int, default=256, help="height and width of the images")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    args = parser.parse_args()
    print(
        f"{args.model}, {processor()}, {args.threads} threads, float32, {args.size} x {args.size}, batch {args.batch}"
    )
    print(f"Median (quartiles) of {args.repeats} calls, anomalib's over ours in pairs; memory after each row.\n")
    show(COLUMNS)
    show(["---"] * len(COLUMNS))
    for backbone in args.backbones:
        setting = Setting(args.model, backbone, args.batch, args.size, args.threads)
        for row in compare({"ours": args.ours, "anomalib": args.anomalib}, setting, args.rows, args.repeats):
            show(row)


def show(cells: list[str]) -> None:
    print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        work(sys.argv[2], Setting(**json.loads(sys.argv[3])))
    else:
        main()
