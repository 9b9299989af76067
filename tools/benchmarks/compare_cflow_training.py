"""Train CFLOW here and with anomalib on the same images and features, and say what it detects after how long.

One process for each, one after the other, with nothing beside it: ours as cflow/mobilenetv2 was when it was measured
(features as they are, clamp 1.9, rate 2e-3, no local scale), ours in the published order of steps (one layer's decoder
at a time, on all feature vectors, with the published rate of 2e-4), and anomalib's, which has the same order with 64
vectors a step and a rate of 1e-4. The clock runs while images are encoded and trained on, not while they are read or
tested. anomalib scores test images in batches of 32, by which it normalises; ours are normalised by held-out training
images.

    python tools/compare_cflow_training.py --ours PYTHON --anomalib PYTHON --root $DATA --category magnetic_tile \
      --weights $WEIGHTS/mobilenetv2_100_tf_in1k.safetensors
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

SIZE, BATCH = 256, 32


# --- A worker: trains, and writes maps of the test images at some points of the training --------------------------


class Ours:
    published = False

    def __init__(self, weights: str) -> None:
        import torch
        import yaml

        from anomalib_flows import CFlow, Pipeline
        from anomalib_flows.cli.configs import find_config

        config = yaml.safe_load(find_config("cflow/mobilenetv2").read_text())
        published = {"vectors_per_step": 256, "order": "published", "learning_rate": 2e-4}
        published |= {"schedule": "constant"}  # an epoch is too short for its warm-up over 16
        options = config["model"]["init_args"] | {
            "norm": "none",
            "clamp": 1.9,
            "local_scale": 0.0,
            "learning_rate": 2e-3,
        }  # as measured
        options |= published if self.published else {}
        detector = CFlow((SIZE, SIZE), weights=Path(weights), **options)
        self.torch, self.pipeline, self.optimizer = torch, Pipeline(detector), detector.optimizer()

    def train(self, images: Any, progress: float, share: float) -> None:
        detector, features = self.pipeline.detector, self.pipeline.features(images)
        count = detector.training_batch_count(len(images))
        for i, batch in enumerate(detector.training_batches(features)):
            factor = detector.learning_rate_factor(progress + share * i / count)
            for group in self.optimizer.param_groups:
                group["lr"] = detector.learning_rate * factor
            detector.loss(batch).backward()
            self.optimizer.step()
            self.optimizer.zero_grad()

    def maps(self, images: Any, held_out: Any) -> Iterator[Any]:
        with self.torch.inference_mode():
            self.pipeline.detector.calibrate(self.pipeline.features(batch) for batch in held_out)
            for batch in images:
                yield self.pipeline.maps(batch)


class OursPublished(Ours):
    published = True


class Anomalib:
    def __init__(self, weights: str) -> None:
        import torch

        from comparison.peers import TimmCflow, batch_of, without_trainer

        self.torch, self.batch_of = torch, batch_of
        self.module = without_trainer(TimmCflow("mobilenetv2_100", SIZE, weights))

    def train(self, images: Any, progress: float, share: float) -> None:
        self.module.model.train()
        self.module.training_step(self.batch_of(images / 127.5 - 1))

    def maps(self, images: Any, held_out: Any) -> Iterator[Any]:
        with self.torch.inference_mode():
            for batch in images:
                yield self.module.model(batch / 127.5 - 1).anomaly_map


WORKERS: dict[str, Any] = {"ours": Ours, "ours, published order": OursPublished, "anomalib": Anomalib}


def work(name: str, folder: Path, weights: str, epochs: int, tests: int) -> None:
    """Train, and print a line of JSON for each test: the share of the training done, its seconds, the file of maps."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries may print, but not between our replies
    import torch

    torch.manual_seed(0)
    arrays = {part: np.load(folder / f"{part}.npy", mmap_mode="r") for part in ("train", "held_out", "test")}

    def batches(part: str) -> Iterator[Any]:
        for start in range(0, len(arrays[part]), BATCH):
            yield torch.from_numpy(arrays[part][start : start + BATCH].copy()).float()

    implementation, seconds = WORKERS[name](weights), 0.0
    orders = [np.random.default_rng(epoch).permutation(len(arrays["train"])) for epoch in range(epochs)]
    chosen = [order[start : start + BATCH] for order in orders for start in range(0, len(order), BATCH)]
    stops = {max(1, round(len(chosen) * (test + 1) / tests)) for test in range(tests)}
    for done, indices in enumerate(chosen):
        images = torch.from_numpy(arrays["train"][np.sort(indices)]).float()
        start = time.perf_counter()
        implementation.train(images, done / len(chosen), 1 / len(chosen))
        seconds += time.perf_counter() - start
        if done + 1 in stops:
            maps = torch.cat(
                [m.float().view(-1, SIZE, SIZE) for m in implementation.maps(batches("test"), batches("held_out"))]
            )
            file = folder / f"{name}-{done}.npy"
            np.save(file, maps.numpy())
            reply = {"images": int(sum(map(len, chosen[: done + 1]))), "seconds": seconds, "file": str(file)}
            print(json.dumps(reply), file=replies, flush=True)


# --- The parent: images and table ----------------------------------------------------------------------------------


def prepare(root: Path, category: str, folder: Path) -> dict[str, Any]:
    """Write the resized images, in whole grey levels, and return what is known of the test images."""
    import torch

    from anomalib_flows.data.datasets.mvtec import MVTec
    from anomalib_flows.data.loading.loader import loader
    from anomalib_flows.data.splits.splits import hold_out

    data = MVTec(root=root, category=category, image_size=SIZE)
    samples = hold_out(data.samples(), data.calibration_fraction, seed=0)
    for split, name in {"train": "train", "calibration": "held_out", "test": "test"}.items():
        batches = list(loader([s for s in samples if s.split == split], data))
        np.save(folder / f"{name}.npy", torch.cat([b.images for b in batches]).round().byte().numpy())
    known = [sample for batch in batches for sample in batch.samples]
    return {
        "labels": [s.label for s in known],
        "defects": [s.defect for s in known],
        "masks": [None if m is None else m.numpy() for b in batches for m in b.masks],
    }


def measure(file: str, truth: dict[str, Any]) -> tuple[float, float]:
    """Image and pixel AUROC of maps, scored by their maxima."""
    from anomalib_flows.results.metrics.evaluate import evaluate

    maps = np.load(file)
    scores = maps.max((1, 2))
    figures = evaluate(scores=scores, threshold=0.0, maps=list(maps), pixel_threshold=0.0, **truth)
    return figures["image"]["auroc"], figures["pixel"]["auroc"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ours", required=True, help="Python interpreter that has anomalib-flows")
    parser.add_argument("--anomalib", required=True, help="Python interpreter that has anomalib")
    parser.add_argument("--root", type=Path, required=True, help="folder of sets in MVTec AD's layout")
    parser.add_argument("--category", default="magnetic_tile")
    parser.add_argument(
        "--weights", required=True, help="ImageNet weights of timm's mobilenetv2_100, padded as TensorFlow"
    )
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--tests", type=int, default=4, help="how often the test images are judged")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--workers", nargs="+", default=list(WORKERS), choices=list(WORKERS))
    args = parser.parse_args()
    environment = os.environ | {"OMP_NUM_THREADS": str(args.threads), "MKL_NUM_THREADS": str(args.threads)}
    with tempfile.TemporaryDirectory() as folder:
        truth = prepare(args.root, args.category, Path(folder))
        print(
            "| trained by | images | seconds | image AUROC | pixel AUROC |\n| --- | --- | --- | --- | --- |", flush=True
        )
        for name in args.workers:
            python = args.anomalib if name == "anomalib" else args.ours
            command = [python, __file__, "worker", name, folder, args.weights, str(args.epochs), str(args.tests)]
            process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
            for line in process.stdout or []:
                reply = json.loads(line)
                image, pixel = measure(reply["file"], truth)
                row = f"| {name} | {reply['images']} | {reply['seconds']:.1f} | {image:.3f} | {pixel:.3f} |"
                print(row, flush=True)
            if process.wait():
                sys.exit(f"The process of {name} ended early: see its error above.")


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        work(sys.argv[2], Path(sys.argv[3]), sys.argv[4], int(sys.argv[5]), int(sys.argv[6]))
    else:
        main()
