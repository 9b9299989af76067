"""The encoder that comes with the package."""

import pytest
import timm
import torch
from safetensors.torch import load_file

from anomalib_flows.encoders import texture13
from anomalib_flows.encoders.encoder import Encoder


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


def test_light_adds_to_every_pixel_and_leaves_contrasts() -> None:
    """Filters that sum to zero see the same in half the light, but for what keeps the dark from being amplified."""
    stem = texture13.LogStem(3, 4, 3, stride=2).eval()
    with torch.no_grad():
        stem.conv.weight -= stem.conv.weight.mean((2, 3), keepdim=True)
    bright = 0.4 + 0.6 * torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    light, dim = (stem.conv(stem_input(stem, image)) for image in (bright, 0.5 * bright))
    assert (light - dim)[..., 1:-1, 1:-1].abs().mean() < 0.2 * light.abs().mean()


def stem_input(stem: texture13.LogStem, image: torch.Tensor) -> torch.Tensor:
    """What the convolution is given for an image from 0 to 1."""
    given: list[torch.Tensor] = []
    hook = stem.conv.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    stem((image - 0.5) / 0.25)
    hook.remove()
    return given[0]
