"""Estimate how well an encoder's features show defects, in a minute and without training a flow.

A few thousand patches of normal images are kept. The score of a test patch is its distance to the nearest of them, and
the score of an image that of its highest patch.

    python tools/benchmarks/probe_encoder.py --root $DATA --category magnetic_tile --backbone tf_efficientnet_lite0 \\
      [--weights random]

References:
    Towards Total Recall in Industrial Anomaly Detection (Roth et al., 2022), https://arxiv.org/abs/2106.08265, with
    random patches instead of a coreset.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jsonargparse import ArgumentParser
from torch import Tensor
from tqdm import tqdm

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.preprocess import Preprocess
from anomalib_flows.core.types import Batch, Sample
from anomalib_flows.data.datasets.mvtec import MVTec
from anomalib_flows.data.loading.loader import Loader
from anomalib_flows.encoders import Triple
from anomalib_flows.encoders.encoder import Encoder
from anomalib_flows.encoders.weights import Weights
from anomalib_flows.run.options import ImageOptions, LoaderOptions
from detection import Truth, aurocs

STRIDE, BATCH = 8, 8


@dataclass(frozen=True, kw_only=True)
class Probe:
    """Options of a probe.

    Args:
        root: Folder of datasets in MVTec AD's layout.
        category: Name of the dataset.
        backbone: Name of a model of timm.
        weights: ``pretrained``, ``random``, or a file with a state dict of that model.
        layers: Indices of timm's feature maps, or of blocks for transformers.
        timm_args: Further arguments of ``timm.create_model``.
        mean: Mean of each channel for the normalisation, in [0, 1]; by default timm's.
        std: Standard deviation of each channel for the normalisation; by default timm's.
        image_size: Height and width of the images in pixels.
        images: Limit of the normal images to take patches from.
        patches: Patches to keep.
        seed: Seed of random weights, and of the choice of images and patches.
    """

    root: Path
    category: str
    backbone: str = "tf_efficientnet_lite0"
    weights: Weights = "pretrained"
    layers: list[int] | None = None
    timm_args: dict[str, Any] | None = None
    mean: Triple | None = None
    std: Triple | None = None
    image_size: int = 256
    images: int = 150
    patches: int = 4000
    seed: int = 0

    def encoder(self) -> Encoder:
        """Return the encoder."""
        torch.manual_seed(self.seed)
        size = (self.image_size, self.image_size)
        return Encoder(size, self.backbone, self.weights, self.layers, self.timm_args, self.mean, self.std)


class Bank(NamedTuple):
    """Patches of normal images.

    Args:
        patches: Their features in units of the scale, of shape (N, C).
        scale: Standard deviation of each channel times the square root of the channels of its map, of shape (C,), so
            that each map has the same weight.
    """

    patches: Tensor
    scale: Tensor

    def distances(self, features: Tensor) -> Tensor:
        """Return the distance of each patch to the nearest of the bank: (B, C, h, w) -> (B, 1, h, w)."""
        batch, _, height, width = features.shape
        rows = features.permute(0, 2, 3, 1).flatten(0, 2) / self.scale
        return torch.cdist(rows, self.patches).amin(1).view(batch, 1, height, width)


def probe(options: Probe) -> None:
    """Print image and pixel AUROC of nearest-neighbour distances."""
    encoder = options.encoder()
    samples = MVTec(root=options.root, category=options.category).samples()
    bank = make_bank(options, encoder, [s for s in samples if s.split == "train"])
    print(json.dumps({"backbone": options.backbone, "weights": str(options.weights), "category": options.category}))
    print(json.dumps(evaluate(encoder, bank, [s for s in samples if s.split == "test"], options.image_size)))


def make_bank(options: Probe, encoder: Encoder, normal: list[Sample]) -> Bank:
    """Draw images and patches of them."""
    generator = torch.Generator().manual_seed(options.seed)
    some = [normal[i] for i in sorted(torch.randperm(len(normal), generator=generator)[: options.images].tolist())]
    features = torch.cat([f for _, f in encode(encoder, some, options.image_size)])  # (B, C, h, w)
    rows = features.transpose(1, -1).flatten(0, 2)
    widths = torch.cat([torch.full((c,), c**0.5) for c, _, _ in encoder.shapes])
    scale = (rows.std(0) + 1e-6) * widths
    return Bank(rows[torch.randperm(len(rows), generator=generator)[: options.patches]] / scale, scale)


@torch.inference_mode()
def encode(encoder: Encoder, samples: list[Sample], size: int) -> Iterator[tuple[Batch, Tensor]]:
    """Yield batches with the features (B, C, h, w) of their patches: means of 3 x 3 positions of each map."""
    image, side = ImageOptions(size=size), -(-size // STRIDE)
    preprocess = Preprocess(image.height_width, image.resize, encoder.mean, encoder.std)
    for batch in Loader(samples, image, LoaderOptions(batch_size=BATCH)):
        maps = [F.avg_pool2d(f, 3, stride=1, padding=1) for f in encoder(preprocess.normalise(batch.images))]
        resized = [F.interpolate(f, (side, side), mode="bilinear", antialias=True) for f in maps]
        yield batch, torch.cat(resized, 1)


def evaluate(encoder: Encoder, bank: Bank, samples: list[Sample], size: int) -> dict[str, float]:
    """Return the AUROCs of the distances of all test patches to the bank."""
    maps, batches = [], []
    with tqdm(total=len(samples), unit="image") as progress:
        for batch, features in encode(encoder, samples, size):
            maps.append(F.interpolate(bank.distances(features), (size, size), mode="bilinear")[:, 0])
            progress.update(len(batch.samples))
            batch.images = batch.images[:0]
            batches.append(batch)
    image, pixel = aurocs(torch.cat(maps).numpy(), Truth.of(batches))
    return {"image_auroc": round(image, 4), "pixel_auroc": round(pixel, 4)}


if __name__ == "__main__":
    try:
        parser = ArgumentParser(description=__doc__)
        parser.add_class_arguments(Probe)  # auto_cli would make a subcommand of each method
        probe(Probe(**parser.parse_args().as_dict()))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
