"""Train CFLOW here and with anomalib on the same images and features, and report detection against time.

Each has a process of its own; they run one after the other. Ours is cflow/mobilenetv2 as it was when it was measured
(features without normalisation, clamp 1.9, rate 2e-3, no local scale), and ours in the published order of steps (one
layer's decoder at a time, on all feature vectors, with the published rate of 2e-4). anomalib's has that order with 64
vectors per step and a rate of 1e-4. The time of encoding and training counts, not that of reading and evaluation.
anomalib scores test images in batches of 32 and normalises within each batch; ours are normalised by held-out training
images.

    python tools/benchmarks/compare_cflow_training.py --ours PYTHON --anomalib PYTHON --root $DATA \\
      --category magnetic_tile --weights $WEIGHTS/mobilenetv2_100_tf_in1k.safetensors
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

from comparison.turns import environment, show, show_head

COLUMNS = ["trained by", "images", "seconds", "image AUROC", "pixel AUROC"]
SIZE, BATCH = 256, 32
AS_MEASURED = {"norm": "none", "clamp": 1.9, "local_scale": 0.0, "learning_rate": 2e-3}
"""Options of cflow/mobilenetv2 when docs/reference/benchmarks-history.md was measured."""
PUBLISHED = AS_MEASURED | {"vectors_per_step": 256, "order": "published", "learning_rate": 2e-4}
PUBLISHED |= {"schedule": "constant"}  # one epoch is too short for the published warm-up over 16 epochs


# --- A worker: trains, and writes maps of the test images at some points of the training ---------------------------


class Ours:
    """CFLOW of this package."""

    published = False

    def __init__(self, weights: str) -> None:
        import torch
        import yaml

        from anomalib_flows import CFlow, Pipeline
        from anomalib_flows.run.configurations import find_config

        config = yaml.safe_load(find_config("cflow/mobilenetv2").read_text())
        options = config["model"]["init_args"] | (PUBLISHED if self.published else AS_MEASURED)
        detector = CFlow((SIZE, SIZE), weights=Path(weights), **options)
        self.torch, self.pipeline, self.optimizer = torch, Pipeline(detector), detector.optimizer()

    def train(self, images: Any, progress: float, share: float) -> None:
        """Train on a batch of images, a share of the training after some progress, both from 0 to 1."""
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
        """Yield the maps of batches of images."""
        with self.torch.inference_mode():
            self.pipeline.detector.calibrate(self.pipeline.features(batch) for batch in held_out)
            for batch in images:
                yield self.pipeline.maps(batch)


class OursPublished(Ours):
    """CFLOW of this package in the published order of steps."""

    published = True


class Anomalib:
    """CFLOW of anomalib."""

    def __init__(self, weights: str) -> None:
        import torch

        from comparison.peers import TimmCflow, batch_of, without_trainer

        self.torch, self.batch_of = torch, batch_of
        self.module = without_trainer(TimmCflow("mobilenetv2_100", SIZE, weights))

    def train(self, images: Any, progress: float, share: float) -> None:
        """Train on a batch of images, a share of the training after some progress, both from 0 to 1."""
        self.module.model.train()
        self.module.training_step(self.batch_of(images / 127.5 - 1))

    def maps(self, images: Any, held_out: Any) -> Iterator[Any]:
        """Yield the maps of batches of images."""
        with self.torch.inference_mode():
            for batch in images:
                yield self.module.model(batch / 127.5 - 1).anomaly_map


WORKERS: dict[str, Any] = {"ours": Ours, "ours, published order": OursPublished, "anomalib": Anomalib}


def work(name: str, folder: Path, weights: str, epochs: int, tests: int) -> None:
    """Train, and print a line of JSON for each test: images trained on, seconds, and the file of maps."""
    stream = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries print there; replies have a stream of their own
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
            print(json.dumps(reply), file=stream, flush=True)


# --- The parent: images and table ----------------------------------------------------------------------------------


def prepare(root: Path, category: str, folder: Path) -> Any:
    """Write the resized images as uint8, and return the ground truth of the test images."""
    import torch

    from anomalib_flows.data.datasets.mvtec import MVTec
    from anomalib_flows.data.loading.loader import Loader
    from anomalib_flows.data.splits import hold_out
    from anomalib_flows.run.options import ImageOptions, LoaderOptions, SplitOptions
    from detection import Truth

    samples = MVTec(root=root, category=category).samples()
    samples = hold_out(samples, SplitOptions().calibration_fraction, seed=0)
    for split, name in {"train": "train", "calibration": "held_out", "test": "test"}.items():
        chosen = [s for s in samples if s.split == split]
        batches = list(Loader(chosen, ImageOptions(size=SIZE), LoaderOptions()))
        np.save(folder / f"{name}.npy", torch.cat([b.images for b in batches]).round().byte().numpy())
    return Truth.of(batches)


def measure(file: str, truth: Any) -> tuple[float, float]:
    """Return image and pixel AUROC of a file of maps."""
    from detection import aurocs

    return aurocs(np.load(file), truth)


def parse() -> argparse.Namespace:
    """Parse the options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ours", required=True, help="Python interpreter with anomalib-flows")
    parser.add_argument("--anomalib", required=True, help="Python interpreter with anomalib")
    parser.add_argument("--root", type=Path, required=True, help="folder of datasets in MVTec AD's layout")
    parser.add_argument("--category", default="magnetic_tile")
    parser.add_argument("--weights", required=True, help="ImageNet weights of timm's mobilenetv2_100 from TensorFlow")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--tests", type=int, default=4, help="number of evaluations on the test images")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--workers", nargs="+", default=list(WORKERS), choices=list(WORKERS))
    return parser.parse_args()


def main() -> None:
    """Print the table."""
    args = parse()
    with tempfile.TemporaryDirectory() as folder:
        truth = prepare(args.root, args.category, Path(folder))
        show_head(COLUMNS)
        for name in args.workers:
            for reply in replies(args, name, folder):
                image, pixel = measure(reply["file"], truth)
                show([name, str(reply["images"]), f"{reply['seconds']:.1f}", f"{image:.3f}", f"{pixel:.3f}"])


def replies(args: argparse.Namespace, name: str, folder: str) -> Iterator[dict[str, Any]]:
    """Yield what a worker prints, and exit if it fails."""
    python = args.anomalib if name == "anomalib" else args.ours
    command = [python, __file__, "worker", name, folder, args.weights, str(args.epochs), str(args.tests)]
    process = subprocess.Popen(command, env=environment(args.threads), stdout=subprocess.PIPE, text=True)
    yield from map(json.loads, process.stdout or [])
    if process.wait():
        sys.exit(f"The process of {name} ended early: see its error above.")


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        work(sys.argv[2], Path(sys.argv[3]), sys.argv[4], int(sys.argv[5]), int(sys.argv[6]))
    else:
        main()
