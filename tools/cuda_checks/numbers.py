"""Losses, gradients and scores of one model on a device and on the CPU."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from cuda_checks.place import CATEGORY, PRECISIONS, Place, demand
from cuda_checks.processes import Row

LOSS_BOUNDS = {"float32": 1e-4, "bfloat16": 2e-2, "float16": 5e-3}
"""Largest relative difference of a loss from that of the CPU in float32."""
GRADIENT_BOUNDS = {"float32": 1e-3, "bfloat16": 0.3, "float16": 0.05}
"""The same of the gradient, in the norm over all weights; that of a CPU in bfloat16 is apart by 0.22 (CFLOW)."""
SCORE_BOUND = 1e-4


def against_cpu(place: Place, model: str) -> list[Row]:
    """Compare loss and gradients in each precision, and scores in float32, with those of the CPU in float32."""
    from anomalib_flows.core.cuda import full_float32

    images = photos(place, 8)
    pipeline = trained(place, model, images)
    device = torch.device(place.device)
    moved = copy.deepcopy(pipeline).to(device)
    expected, gradient = loss_of(pipeline.detector, pipeline.features(images), torch.float32)
    rows = []
    with full_float32():
        for precision, name in PRECISIONS.items():
            if precision == "16-mixed" and place.device == "cpu":
                continue
            dtype = getattr(torch, name)
            with torch.no_grad(), torch.autocast(device.type, dtype, dtype != torch.float32):
                features = [f.float() for f in moved.features(images.to(device))]
            loss, found = loss_of(moved.detector, features, dtype)
            apart = abs(loss - expected) / abs(expected)
            turned = relative(found, gradient)
            rows.append({"model": model, "precision": name, "loss apart": apart, "gradient apart": turned})
        with torch.no_grad():
            scores, wanted = (p.postprocess.scores(p.maps(x).cpu()) for p, x in of_both(moved, pipeline, images))
    rows.append({"model": model, "precision": "float32", "scores apart": relative(scores, wanted)})
    for row in rows:
        require_close(row)
    return rows


def require_close(row: Row) -> None:
    """Raise an AssertionError if a row's differences are too large."""
    bounds = {"loss apart": LOSS_BOUNDS, "gradient apart": GRADIENT_BOUNDS, "scores apart": {"float32": SCORE_BOUND}}
    for name, of_precision in bounds.items():
        apart, bound = row.get(name, 0.0), of_precision.get(row["precision"], 0.0)
        demand(apart <= bound, f"{row['precision']}: {name} by {apart:.1e}, bound {bound:g}")


def of_both(moved: Any, pipeline: Any, images: Tensor) -> list[tuple[Any, Tensor]]:
    """Pair each pipeline with the images on its device; decisions are made on the CPU."""
    device = next(moved.detector.parameters()).device
    moved.postprocess.cpu()
    return [(moved.eval(), images.to(device)), (pipeline.eval(), images)]


def trained(place: Place, model: str, images: Tensor) -> Any:
    """Make a pipeline and train its detector for some steps on the CPU, since many flows start as the identity."""
    from anomalib_flows.models.pipeline import Pipeline

    pipeline = Pipeline(place.detector(model))
    detector = pipeline.detector
    features = pipeline.features(images)
    detector.fit_statistics(iter([features]))
    optimizer = detector.train().optimizer()
    for _ in range(3):
        loss_of(detector, features, torch.float32)
        optimizer.step()
        optimizer.zero_grad()
    return pipeline


def loss_of(detector: Any, features: list[Tensor], dtype: torch.dtype) -> tuple[float, Tensor]:
    """Return the loss of the first training batch of features, and its gradient on the CPU; weights keep theirs."""
    torch.manual_seed(0)
    device = features[0].device.type
    detector.train().zero_grad()
    batch = next(iter(detector.training_batches(features)))
    with torch.autocast(device, dtype, dtype != torch.float32):
        loss = detector.loss(batch)
    loss.backward()
    gradient = torch.cat([p.grad.flatten().float().cpu() for p in detector.parameters() if p.grad is not None])
    return loss.item(), gradient


def relative(found: Tensor, expected: Tensor) -> float:
    """Return the norm of a difference, relative to that of the expected values."""
    norm = float(expected.double().norm())
    return float((found.double() - expected.double()).norm()) / norm if norm else float(found.double().norm())


def photos(place: Place, count: int) -> Tensor:
    """Return some drawn photos, resized, (count, 3, H, W)."""
    from anomalib_flows.core.images import read_pixels
    from anomalib_flows.core.preprocess import resize

    files = sorted((place.photos / CATEGORY / "train" / "good").glob("*.png"))[:count]
    size = (place.scale.size, place.scale.size)
    return torch.stack([resize(torch.from_numpy(read_pixels(file)).permute(2, 0, 1), size) for file in files])
