"""Draw samples of the flows of trained runs, beside the features of a normal image.

    python tools/make/draw_samples.py RUN [RUN ...] --output samples.png

The first three principal components of the image's features (of the first feature map) are shown as red, green and
blue. A sample is the inverse of the flow for normally distributed numbers of a smaller deviation, the temperature.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from anomalib_flows import CFlow, Detector, FastFlow
from anomalib_flows.core.errors import InputError
from anomalib_flows.core.files import atomic
from anomalib_flows.core.types import NORMAL
from anomalib_flows.data.loading.reading import read_image
from anomalib_flows.data.splits import read_splits
from anomalib_flows.models.checkpoint import load_pipeline
from anomalib_flows.models.pipeline import Pipeline
from anomalib_flows.run.directory import Run

SIDE, TEMPERATURE = 256, 0.7


@torch.no_grad()
def sample(detector: Detector) -> Tensor:
    """Return a sample of the first feature map, (C, h, w)."""
    if isinstance(detector, FastFlow):
        z = TEMPERATURE * torch.randn(1, *detector.shapes[0])
        return detector.flows[0].inverse(z)[0][0]
    if isinstance(detector, CFlow):
        channels, height, width = detector.shapes[0]
        z = TEMPERATURE * torch.randn(height * width, channels)
        flow = detector.flows[0]
        return flow.inverse(z, flow.code.everywhere() if flow.code else None)[0].T.view(channels, height, width)
    raise SystemExit(f"{type(detector).__name__} cannot be sampled: name a run of FastFlow or CFLOW.")


def colours(features: Tensor, basis: Tensor, low: Tensor, high: Tensor) -> Image.Image:
    """Return a picture of three components of features (C, h, w)."""
    values = torch.einsum("chw,ck->hwk", features, basis)
    pixels = ((values - low) / (high - low)).clamp(0, 1).mul(255).byte().numpy()
    return Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.NEAREST)


def draw(folder: Path) -> list[Image.Image]:
    """Return a normal image of a run, its features, and a sample."""
    run = Run.open(folder)
    pipeline, good = load_pipeline(run.model_file), [s for s in read_splits(run.splits_file) if s.label == NORMAL]
    if not good:
        raise SystemExit(f"{folder} has no normal images: name a run that was trained here.")
    resized = pipeline.preprocess.resize(read_image(good[0].path))[None]
    features = encode(pipeline, resized)
    flat = features.flatten(1).T
    basis = torch.linalg.svd(flat - flat.mean(0), full_matrices=False).Vh[:3].T
    low, high = (torch.quantile(flat @ basis, q, dim=0) for q in (0.01, 0.99))
    shown = [colours(x, basis, low, high) for x in (features, sample(pipeline.detector))]
    picture = Image.fromarray(resized[0].permute(1, 2, 0).byte().numpy())
    return [picture.resize((SIDE, SIDE)), *shown]


@torch.no_grad()
def encode(pipeline: Pipeline, resized: Tensor) -> Tensor:
    """Return the input of the first flow for one image (1, 3, H, W), of shape (C, h, w)."""
    detector: Any = pipeline.detector
    features: Tensor = detector.norms[0](pipeline.features(resized)[0])
    return features[0]


def main() -> None:
    """Draw a row for each run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    try:
        rows = [draw(folder) for folder in args.runs]
    except InputError as error:
        parser.error(str(error))
    sheet = Image.new("RGB", (SIDE * 3 + 16, (SIDE + 8) * len(rows) - 8), "white")
    for y, row in enumerate(rows):
        for x, picture in enumerate(row):
            sheet.paste(picture, (x * (SIDE + 8), y * (SIDE + 8)))
    with atomic(args.output) as temporary:
        sheet.save(temporary, format="PNG")


if __name__ == "__main__":
    main()
