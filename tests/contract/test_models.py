"""The contract of detectors, over every registered model."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from anomalib_flows.core import registry
from anomalib_flows.export.folding import deployable
from anomalib_flows.models.base import Detector
from anomalib_flows.models.components import positions
from anomalib_flows.models.flow_detector import FlowDetector
from anomalib_flows.testing import DETECTOR_CHECKS, Make
from anomalib_flows.testing.detectors import DEPLOYED_ERROR
from anomalib_flows.testing.trials import (
    maps_of,
    noise_images,
    relative_difference,
    set_constants_of,
    state_of,
    trained,
)

TINY: dict[str, Any] = {"backbone": "test_efficientnet", "weights": "random"}
VIT: dict[str, Any] = {"backbone": "test_vit", "weights": "random"}
SMALL: dict[str, list[dict[str, Any]]] = {
    "cflow": [
        TINY | {"steps": 2, "layers": [2, 3], "condition": 16, "vectors_per_step": 32},
        TINY | {"steps": 2, "condition": 0, "vectors_per_step": 32, "permutation": "soft", "max_vectors": 50},
        TINY | {"steps": 2, "layers": [2, 3], "vectors_per_step": 7, "order": "published", "padding": "reflect"},
        VIT | {"steps": 2, "vectors_per_step": 8},
    ],
    "fastflow": [
        TINY | {"steps": 2},
        TINY | {"steps": 2, "coarse_weight": 1.0},
        TINY | {"steps": 2, "layers": [2], "kernel_sizes": [3, 1], "norm": "layer-fixed"},
        VIT | {"steps": 2, "norm": "none"},
    ],
}
"""For each registered model arguments that make it small, for the variants that its code distinguishes."""


def is_ours(name: str) -> bool:
    return registry.entries("models")[name].value.startswith("anomalib_flows.")


@pytest.mark.parametrize("name", registry.names("models"))
def test_every_model_is_covered(name: str) -> None:
    if not is_ours(name):
        pytest.skip(f"{name} is of a plug-in that happens to be installed, which has tests of its own")
    assert name in SMALL, f"add arguments that make a small {name} to SMALL in {__file__}"


every_variant = pytest.mark.parametrize(
    ("name", "arguments"),
    [pytest.param(name, a, id=f"{name}-{i}") for name, variants in SMALL.items() for i, a in enumerate(variants)],
)


@pytest.mark.parametrize("check", DETECTOR_CHECKS, ids=lambda check: check.__name__)
@every_variant
def test_contract(name: str, arguments: dict[str, Any], check: Callable[[Make], None]) -> None:
    model = registry.load("models", name)
    check(lambda size: model(size, **arguments))


@every_variant
def test_what_is_exported_gives_the_same_maps(name: str, arguments: dict[str, Any]) -> None:
    model = registry.load("models", name)
    detector = trained(lambda size: model(size, **arguments))
    images = noise_images(detector.image_size)
    for _ in range(2):  # as trained, and calibrated
        before, maps = state_of(detector), maps_of(detector, images)
        lean = deployable(detector)
        assert lean is not detector or not isinstance(detector, FlowDetector)
        assert relative_difference(maps_of(lean, images), maps) <= DEPLOYED_ERROR
        assert all(tensor.equal(before[key]) for key, tensor in detector.state_dict().items())
        set_constants_of(detector)


def pretend_cuda(detector: Detector) -> None:
    """Replace all weights and buffers by ones that pretend to be on CUDA; they have no values."""
    for module in detector.modules():
        for name, p in module.named_parameters(recurse=False):
            on_cuda = torch.empty_strided(p.shape, p.stride(), dtype=p.dtype, device="cuda")
            module._parameters[name] = nn.Parameter(on_cuda, requires_grad=p.requires_grad)
        for name, b in module.named_buffers(recurse=False):
            module._buffers[name] = torch.empty_strided(b.shape, b.stride(), dtype=b.dtype, device="cuda")


@every_variant
def test_steps_mix_no_devices_and_read_no_values(
    name: str, arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A value that is read makes a GPU wait, and a fake tensor raise; so does one of another device. No GPU is used.

    Without the backward pass, which needs a driver.
    """
    monkeypatch.setattr(positions, "to_device", lambda tensor, device: tensor.to(device))
    detector = registry.load("models", name)((64, 64), **arguments)
    with FakeTensorMode():
        pretend_cuda(detector)
        optimizer = detector.optimizer()
        features = [torch.zeros(4, *shape, device="cuda") for shape in detector.encoder.shapes]
        for batch in detector.training_batches(features):
            assert detector.loss(batch).device.type == "cuda"
            for p in optimizer.param_groups[0]["params"]:
                p.grad = torch.zeros_like(p)
            optimizer.step()
            break
        assert optimizer.param_groups[0]["fused"]
        assert detector.anomaly_map(features).device.type == "cuda"
