"""Options of flow detectors: taken by the base class, recorded flat, and documented once."""

import inspect
from typing import Any

import jsonargparse
import pytest
import torch
from torch import Tensor, nn

from anomalib_flows.core import registry
from anomalib_flows.core.errors import InputError
from anomalib_flows.flows import GlobalAffine
from anomalib_flows.models.base import Features
from anomalib_flows.models.cflow import CFlow
from anomalib_flows.models.fastflow import FastFlow
from anomalib_flows.models.flow_detector import FlowDetector

SHARED = {
    "backbone",
    "weights",
    "layers",
    "strides",
    "padding",
    "norm",
    "shrinkage",
    "local_mean",
    "components",
    "local_scale",
    "upsampling",
    "learning_rate",
    "schedule",
    "weight_decay",
    "timm_args",
    "mean",
    "std",
}
OWN = {
    FastFlow: {"steps", "hidden_ratio", "kernel_sizes", "clamp", "tail", "coarse_weight"},
    CFlow: {"condition", "steps", "clamp", "permutation", "vectors_per_step", "order", "max_vectors"},
}
every_model = pytest.mark.parametrize("model", OWN)
SIZE = (64, 64)


class Scaled(FlowDetector):
    """The smallest one: a flow of one scaling."""

    def __init__(self, image_size, backbone="test_resnet", *, weights="random", strides=(8,), **options: Any) -> None:
        super().__init__(image_size, backbone, weights=weights, strides=strides, **options)
        self.flows = nn.ModuleList(GlobalAffine(shape[0]) for shape in self.shapes)

    def loss(self, batch: Features) -> Tensor:
        return torch.stack([flow(x)[0].square().mean() for flow, x in zip(self.flows, batch, strict=True)]).sum()

    def energies(self, features: Features) -> list[Tensor]:
        pairs = zip(self.flows, self.norms, features, strict=True)
        return [flow(norm(x))[0].square().mean(1, keepdim=True) for flow, norm, x in pairs]

    def anomaly_map(self, features: Features) -> Tensor:
        return -self.likelihoods(self.energies(features)).mean(0)


@every_model
def test_all_arguments_are_recorded_with_their_defaults(model) -> None:
    detector = model(SIZE, "test_resnet", weights="random", steps=1)
    assert detector.init_args.keys() == SHARED | OWN[model]
    defaults = {name: parameter.default for name, parameter in registry.parameters(model).items()}
    given = {"backbone": "test_resnet", "weights": "random", "steps": 1}
    assert detector.init_args == {k: v for k, v in defaults.items() if k != "image_size"} | given
    again = model(detector.image_size, **detector.init_args)
    assert again.init_args == detector.init_args
    assert list(again.state_dict()) == list(detector.state_dict())


@every_model
def test_every_option_has_a_type_and_one_description(model) -> None:
    parser = jsonargparse.ArgumentParser()
    parser.add_class_arguments(model, "model", skip={"image_size"})
    actions = {action.dest.removeprefix("model."): action for action in parser._actions if "." in action.dest}
    assert actions.keys() == SHARED | OWN[model]
    assert all(action.help and "type: " in parser.format_help() for action in actions.values())
    documented = [name for name in actions if f"        {name}: " in (FlowDetector.__doc__ + model.__doc__)]
    assert set(documented) == set(actions)
    # Shared arguments are described once, unless a model takes one with other choices.
    inherited = SHARED - inspect.signature(model).parameters.keys()
    assert not [name for name in inherited if f"        {name}: " in model.__doc__]


def test_options_of_cflow_differ_where_its_paper_does() -> None:
    differing = {"upsampling": "bilinear-aligned", "schedule": "constant", "components": 160}
    defaults = {name: parameter.default for name, parameter in registry.parameters(CFlow).items()}
    shared = {name: parameter.default for name, parameter in registry.parameters(FlowDetector).items()}
    assert {k: v for k, v in defaults.items() if k in SHARED and v != shared[k]} == differing | {"weight_decay": 0.0}


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("strides", ()),
        ("shrinkage", -0.1),
        ("components", 1),
        ("local_scale", 1.5),
        ("learning_rate", 0.0),
        ("weight_decay", -1.0),
        ("std", (0.2, 0.0, 0.2)),
    ],
)
def test_invalid_numbers_are_refused(option: str, value: Any) -> None:
    with pytest.raises(InputError, match=rf"^`{option}` cannot be .*: it must be"):
        Scaled(SIZE, **{option: value})


@every_model
def test_unknown_options_are_refused(model) -> None:
    with pytest.raises(TypeError, match="colour"):
        model(SIZE, colour="red")


@every_model
@pytest.mark.parametrize(
    ("options", "channels"),
    [
        ({"components": 100}, [100, 96]),
        ({"components": None}, [192, 96]),
        ({"components": 100, "shrinkage": 1.0}, [192, 96]),
        ({"components": 100, "norm": "none"}, [192, 96]),
    ],
)
def test_flows_take_the_components_that_whitening_keeps(model, options, channels) -> None:
    detector = model(SIZE, "test_resnet", weights="random", strides=(16, 32), steps=1, **options)
    features = detector.encode(torch.randn(2, 3, *SIZE))
    assert [f.shape[1] for f in features] == [192, 96]
    assert [shape[0] for shape in detector.shapes] == channels
    detector.fit_statistics([features])
    assert [norm(f).shape[1] for norm, f in zip(detector.norms, features, strict=True)] == channels
    assert detector.anomaly_map(features).isfinite().all()


def test_a_subclass_says_its_flows_its_loss_and_its_energies() -> None:
    torch.manual_seed(0)
    detector = Scaled(SIZE, upsampling="nearest", learning_rate=0.1)
    features = detector.encode(torch.randn(4, 3, *SIZE))
    detector.fit_statistics(iter([features]))
    detector.fit_local_scale(iter([features]))
    assert detector.init_args["strides"] == (8,)
    assert [h for _, h, _ in detector.encoder.shapes] == [8]
    assert detector.anomaly_map(features).shape == (4, 1, *SIZE)
    assert not torch.equal(detector.scales[0].factor, torch.ones(8, 8))
    (group,) = detector.optimizer().param_groups
    assert (group["lr"], len(group["params"])) == (0.1, 2)
