"""The encoder that comes with the package."""

import pytest
import timm
import torch
from safetensors.torch import load_file

from anomalib_flows import texture13
from anomalib_flows.backbones import Encoder


def test_its_weights_are_small_half_precision_and_finite() -> None:
    assert texture13.WEIGHTS.stat().st_size <= 5e6
    for name, tensor in load_file(texture13.WEIGHTS).items():
        assert tensor.dtype == torch.float16, name
        assert tensor.isfinite().all(), name


@pytest.mark.usefixtures("no_network")
def test_its_weights_come_without_a_network() -> None:
    encoder = Encoder((64, 96), "texture13")
    assert encoder.shapes == [(32, 16, 24), (48, 8, 12), (96, 4, 6)]
    state = encoder.network.state_dict()
    for name, tensor in load_file(texture13.WEIGHTS).items():
        assert torch.equal(state[name.replace("stages.", "stages_")], tensor.float()), name


def test_timm_makes_it_like_its_own() -> None:
    model = timm.create_model("texture13", pretrained=True).eval()
    assert model(torch.zeros(2, 3, 70, 50)).shape == (2, 96)
    assert timm.list_pretrained("texture13*") == ["texture13.drawn"]


def test_it_has_thirteen_convolutions_on_the_way() -> None:
    network = Encoder((64, 64), "texture13", weights="random").network
    kernels = [m for m in network.modules() if isinstance(m, torch.nn.Conv2d) and m.kernel_size == (3, 3)]
    assert len(kernels) == 13
