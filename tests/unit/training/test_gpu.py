"""What only a GPU can show of training: no step waits, and a bad loss is named although losses are read late."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from anomalib_flows import CFlow, FastFlow
from anomalib_flows.core.cuda import full_float32, to_device
from anomalib_flows.core.errors import InputError
from anomalib_flows.core.types import Sample
from anomalib_flows.models.pipeline import Pipeline
from anomalib_flows.run.component import Component
from anomalib_flows.run.config import TrainConfig
from anomalib_flows.run.directory import Run
from anomalib_flows.run.options import LoaderOptions, TrainerOptions
from anomalib_flows.training.fit import fit
from anomalib_flows.training.graphs import GraphedLoss

pytestmark = pytest.mark.gpu
CUDA = torch.device("cuda")


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("order", ["", "together", "published"])
def test_a_step_waits_for_nothing(order: str, precision: str) -> None:
    options: dict[str, Any] = {"order": order, "vectors_per_step": 32} if order else {}
    detector: Any = (CFlow if order else FastFlow)((64, 64), "test_resnet", weights="random", **options).to(CUDA)
    kept = [torch.randn(4, *shape) for shape in detector.encoder.shapes]
    dtype, optimizer, losses = getattr(torch, precision), detector.optimizer(), list[torch.Tensor]()

    def step() -> None:
        for batch in detector.training_batches([to_device(feature, CUDA) for feature in kept]):
            with torch.autocast("cuda", dtype, dtype != torch.float32):
                loss = detector.loss(batch)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.detach())
            return

    step()  # libraries are made ready, and memory is taken
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(3):
            step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len(losses) == 4
    assert torch.stack(losses).isfinite().all()


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("order", ["", "together", "published"])
def test_a_graph_trains_as_the_loss_itself(order: str, precision: str) -> None:
    options: dict[str, Any] = {"order": order, "vectors_per_step": 32} if order else {}
    dtype, trained = getattr(torch, precision), []
    for recorded in (True, False):
        torch.manual_seed(0)
        detector: Any = (CFlow if order else FastFlow)((64, 64), "test_resnet", weights="random", **options).to(CUDA)
        optimizer, losses = detector.optimizer(), list[float]()
        loss_of = GraphedLoss(detector) if recorded else detector.loss
        for images in (4, 4, 3, 4, 3, 4):
            features = [torch.randn(images, *shape, device=CUDA) for shape in detector.encoder.shapes]
            for batch in detector.training_batches(features):
                with torch.autocast("cuda", dtype, dtype != torch.float32, cache_enabled=False):
                    loss = loss_of(batch)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses.append(loss.detach())
        assert not recorded or any(loss_of.calls.values())
        trained.append(torch.stack(losses))
    torch.testing.assert_close(*trained, rtol=1e-4, atol=1e-5)


def test_scores_are_those_of_the_cpu() -> None:
    torch.manual_seed(0)
    pipeline, images = (
        Pipeline(FastFlow((128, 128), "resnet18", weights="random")).eval(),
        255 * torch.rand(2, 3, 128, 128),
    )
    with torch.inference_mode():
        expected = pipeline.maps(images)
        with full_float32():
            found = pipeline.to(CUDA).maps(images.to(CUDA)).cpu()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_loss_that_is_not_finite_is_named_with_its_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i, pixels in enumerate(np.random.default_rng(0).integers(0, 256, (8, 40, 50, 3), np.uint8)):
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    samples = [Sample(tmp_path / f"{i}.png", "train") for i in range(8)]
    pipeline = Pipeline(FastFlow((32, 32), "test_resnet", weights="random", steps=1, layers=[2]))
    loss, calls = pipeline.detector.loss, []

    def spoiled(batch: Any) -> torch.Tensor:
        calls.append(1)
        return loss(batch) * (torch.nan if len(calls) == 6 else 1.0)

    monkeypatch.setattr(pipeline.detector, "loss", spoiled)
    monkeypatch.setattr(FastFlow, "static_loss", False)  # a graph would not count its calls
    trainer = TrainerOptions(max_epochs=3, accelerator="cuda", cache="none", precision="32")
    config = TrainConfig(model=Component("fastflow"), loader=LoaderOptions(batch_size=2, workers=0), trainer=trainer)
    run = Run(tmp_path / "run")
    run.path.mkdir()
    with pytest.raises(InputError, match="The loss is nan at step 2 of epoch 2"):
        fit(pipeline, samples, config, run)
    kept = torch.load(run.resume_file, weights_only=True)["state_dict"]
    trained = [name for name, parameter in pipeline.named_parameters() if parameter.requires_grad]
    assert all(kept[f"pipeline.{name}"].isfinite().all() for name in trained)
