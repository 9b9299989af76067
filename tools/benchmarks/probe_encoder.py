"""Say how good an encoder's features are for finding defects, in a minute and without training a flow.

A few thousand patches of normal images are kept. A test patch is as odd as it is far from the nearest of them, an
image as odd as its oddest patch.

    python tools/probe_encoder.py --root $DATA --category magnetic_tile --backbone texture13 [--weights random]

References:
    Towards Total Recall in Industrial Anomaly Detection (Roth et al., 2022), https://arxiv.org/abs/2106.08265,
    with a random choice of patches in the place of a coreset.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jsonargparse import auto_cli
from torch import Tensor
from tqdm import tqdm

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.preprocess import Preprocess
from anomalib_flows.core.types import Batch, Sample
from anomalib_flows.data.datasets.base import Dataset
from anomalib_flows.data.datasets.mvtec import MVTec
from anomalib_flows.data.loading.loader import loader
from anomalib_flows.encoders.encoder import Encoder, Triple, Weights
from anomalib_flows.results.metrics.evaluate import evaluate

STRIDE = 8


def probe(
    root: Path,
    category: str,
    backbone: str = "texture13",
    weights: Weights = "pretrained",
    layers: list[int] | None = None,
    timm_args: dict[str, Any] | None = None,
    mean: Triple | None = None,
    std: Triple | None = None,
    image_size: int = 256,
    images: int = 150,
    patches: int = 4000,
    seed: int = 0,
) -> None:
    """Print image and pixel AUROC of nearest-neighbour distances.

    Args:
        root: Folder of sets in the layout of MVTec AD.
        category: Which of them.
        backbone: See ``anomalib-flows train --model.help fastflow``, as for the next five.
        weights: Likewise.
        layers: Likewise.
        timm_args: Likewise.
        mean: Likewise.
        std: Likewise.
        image_size: Side of the images in pixels.
        images: Normal images to take patches from, at most.
        patches: Patches to keep.
        seed: Seed of random weights, and of the choice of images and patches.
    """
    size = (image_size, image_size)
    torch.manual_seed(seed)
    encoder = Encoder(size, backbone, weights, layers, timm_args, mean, std)
    preprocess = Preprocess(size, "stretch", encoder.mean, encoder.std)
    data = MVTec(root=root, category=category, image_size=image_size, batch_size=8)
    samples = data.samples()
    generator = torch.Generator().manual_seed(seed)
    normal = [s for s in samples if s.split == "train"]
    some = [normal[i] for i in sorted(torch.randperm(len(normal), generator=generator)[:images].tolist())]
    features = torch.cat([f for _, f in encode(encoder, preprocess, some, data)])  # (B, C, h, w)
    rows = features.transpose(1, -1).flatten(0, 2)
    widths = torch.cat([torch.full((c,), c**0.5) for c, _, _ in encoder.shapes])  # so that every map counts alike
    spread, bank = (rows.std(0) + 1e-6) * widths, rows[torch.randperm(len(rows), generator=generator)[:patches]]
    tests = [s for s in samples if s.split == "test"]
    print(json.dumps({"backbone": backbone, "weights": str(weights), "category": category}))
    print(json.dumps(figures(encode(encoder, preprocess, tests, data), bank / spread, spread, len(tests))))


@torch.inference_mode()
def encode(
    encoder: Encoder, preprocess: Preprocess, samples: list[Sample], data: Dataset
) -> Iterator[tuple[Batch, Tensor]]:
    """Yield batches with their patches' features (B, C, h, w), from neighbourhoods of 3 x 3 places of each map."""
    height, width = (-(-side // STRIDE) for side in data.size)
    for batch in loader(samples, data):
        maps = [F.avg_pool2d(f, 3, stride=1, padding=1) for f in encoder(preprocess.normalise(batch.images))]
        resized = [F.interpolate(f, (height, width), mode="bilinear", antialias=True) for f in maps]
        yield batch, torch.cat(resized, 1)


def figures(batches: Iterator[tuple[Batch, Tensor]], bank: Tensor, spread: Tensor, total: int) -> dict[str, float]:
    """Measure the distances of all test patches from the bank, in units of each channel's spread."""
    maps, known = [], []
    with tqdm(total=total, unit="image") as progress:
        for batch, features in batches:
            count, _, height, width = features.shape
            rows = features.permute(0, 2, 3, 1).flatten(0, 2) / spread
            distances = torch.cdist(rows, bank).amin(1).view(count, 1, height, width)
            maps += list(F.interpolate(distances, batch.images.shape[-2:], mode="bilinear")[:, 0].numpy())
            known += list(zip(batch.samples, batch.masks, strict=True))
            progress.update(count)
    samples, masks = zip(*known, strict=True)
    labels, defects = [s.label for s in samples], [s.defect for s in samples]
    result = evaluate(
        [m.max() for m in maps], labels, 0.0, maps, [m if m is None else m.numpy() for m in masks], defects, 0.0
    )
    return {f"{level}_auroc": round(result[level]["auroc"], 4) for level in ("image", "pixel")}


if __name__ == "__main__":
    try:
        auto_cli(probe, as_positional=False)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
