"""Batch norms go into convolutions where that changes nothing, and follow the weights wherever these go."""

import copy

import pytest
import timm
import torch
from torch import Tensor, nn

from anomalib_flows.encoders.batch_norm import NORMS, without_batch_norms
from anomalib_flows.encoders.encoder import Encoder


def norms(network: nn.Module) -> int:
    return sum(type(module) in NORMS for module in network.modules())


def features_of(name: str, disturb) -> nn.Module:
    torch.manual_seed(0)
    return disturb(timm.create_model(name, features_only=True), scale=0.2).eval()


class Shared(nn.Module):
    """A norm is called twice, a convolution's output is wanted twice, or a norm is not behind a convolution."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.convolution, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
        self.norm.running_var.fill_(4.0)

    def forward(self, x: Tensor) -> list[Tensor]:
        if self.kind == "first":
            return [self.convolution(self.norm(x))]
        y = self.convolution(x)
        if self.kind == "between":
            return [self.norm(y * 2)]
        return [self.norm(y), self.norm(y + 1)] if self.kind == "twice" else [self.norm(y), y]


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv2_035", "tf_efficientnet_lite0", "test_resnet"])
def test_features_stay_and_every_norm_goes(name, disturb, relative_error) -> None:
    network, images = features_of(name, disturb).double(), torch.randn(2, 3, 64, 96, dtype=torch.float64)
    folded = without_batch_norms(network, images)
    assert norms(network) > 0
    assert norms(folded) == 0
    with torch.no_grad():
        for found, expected in zip(folded(images), network(images), strict=True):
            assert relative_error(found, expected) < 1e-9


@pytest.mark.parametrize("kind", ["first", "between", "twice", "both"])
def test_norms_stay_where_they_cannot_go(kind) -> None:
    network, images = Shared(kind).eval(), torch.randn(1, 3, 4, 4)
    folded = without_batch_norms(network, images)
    assert norms(folded) == 1
    assert all(torch.equal(f, e) for f, e in zip(folded(images), network(images), strict=True))


def test_features_follow_the_weights(disturb, relative_error) -> None:
    encoder, images = Encoder((64, 64), "test_resnet", weights="random"), torch.randn(1, 3, 64, 64)
    before = encoder(images)
    state = copy.deepcopy(encoder.state_dict())
    disturb(encoder.network, scale=0.2)
    changed = encoder(images)
    for found, expected in zip(changed, encoder.network(images), strict=True):
        assert relative_error(found, expected) < 1e-4
    assert relative_error(changed[0], before[0]) > 0.01
    encoder.load_state_dict(state)
    assert all(torch.equal(found, expected) for found, expected in zip(encoder(images), before, strict=True))
    assert encoder.double()(images.double())[0].dtype == torch.float64


def test_the_fold_is_made_once_and_is_no_part_of_the_state() -> None:
    encoder, images = Encoder((64, 64), "test_resnet", weights="random"), torch.randn(1, 3, 64, 64)
    keys = set(encoder.state_dict())
    encoder(images)
    folded = encoder._quick[1][0]
    encoder(images + 1)
    assert encoder._quick[1][0] is folded
    assert set(encoder.state_dict()) == keys
    assert norms(encoder) > 0


def test_the_fold_moves_along_with_the_encoder_and_still_follows_the_weights(disturb) -> None:
    encoder, images = Encoder((64, 64), "test_resnet", weights="random"), torch.randn(1, 3, 64, 64)
    before = encoder(images)
    folded, place = encoder._quick[1][0], next(encoder._quick[1][0].parameters()).data_ptr()
    encoder._apply(torch.clone)  # as `to` does for another device
    assert all(torch.equal(found, expected) for found, expected in zip(encoder(images), before, strict=True))
    assert encoder._quick[1][0] is folded
    assert next(folded.parameters()).data_ptr() != place
    disturb(encoder.network, scale=0.2)
    encoder._apply(torch.clone)
    changed = encoder(images)
    assert encoder._quick[1][0] is not folded
    assert not torch.equal(changed[0], before[0])
