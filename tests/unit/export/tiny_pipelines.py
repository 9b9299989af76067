"""Small pipelines whose constants are all set, and photos for them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from anomalib_flows.inference.fitting import calibrate_postprocess
from anomalib_flows.models.base import Detector
from anomalib_flows.models.pipeline import Pipeline
from anomalib_flows.run.options import HeatmapOptions

SIZE = (64, 64)
ARGUMENTS: dict[str, dict[str, Any]] = {
    "fastflow": {"backbone": "test_resnet", "weights": "random", "steps": 2},
    "cflow": {"backbone": "test_resnet", "weights": "random", "steps": 2, "layers": [2, 3], "condition": 16},
}


def photo(height: int = 64, width: int = 64, seed: int = 0, blob: bool = False) -> Tensor:
    """Noisy stripes, different in each colour and with or without a blob, of shape (3, h, w), uint8."""
    generator = torch.Generator().manual_seed(seed)
    waves = torch.sin(torch.linspace(0, 20, width) + 6 * torch.rand((), generator=generator))
    values = 128 + torch.tensor([70.0, 40.0, 20.0])[:, None, None] * waves.expand(height, width)
    values = values + 8 * torch.randn(3, height, width, generator=generator)
    if blob:
        values[:, height // 3 : height // 2, width // 4 : width // 2] = torch.tensor([250.0, 20.0, 90.0])[:, None, None]
    return values.clamp(0, 255).to(torch.uint8)


@torch.no_grad()
def calibrated(detector: Detector, resize: Any = "stretch", **heatmap: float) -> Pipeline:
    """Make a pipeline with disturbed weights, whose whitening, scales and thresholds are set."""
    generator = torch.Generator().manual_seed(0)
    for p in detector.parameters():
        if p.requires_grad:
            p.add_(0.05 * torch.randn(p.shape, generator=generator))
    pipeline = Pipeline(detector, resize, HeatmapOptions(**heatmap)).eval()
    images = torch.stack([photo(seed=seed) for seed in range(24)])
    for step in (detector.fit_statistics, detector.fit_local_scale, detector.calibrate):
        step(iter([pipeline.features(pipeline.preprocess.resize(images))]))
    calibrate_postprocess(pipeline.postprocess, pipeline(images).maps, 0.2)
    return pipeline
