"""Imported models give the maps of those that they were."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.types import ImageSize
from anomalib_flows.importing.code_bases import read_parts
from anomalib_flows.importing.convert import assemble_detector
from anomalib_flows.importing.inert import open_checkpoint
from anomalib_flows.importing.options import Source
from anomalib_flows.models.base import Detector
from reference import peers

SIZE = (64, 64)
Import = Callable[..., Detector]


class Settings:
    """An object as Lightning's checkpoints hold them among the hyper-parameters."""

    def __init__(self) -> None:
        self.kept = {"a": 1}


@torch.no_grad()
def disturb(module: nn.Module) -> None:
    """Move all that is trained, and the statistics of batches, away from their first values."""
    generator = torch.Generator().manual_seed(0)
    for p in module.parameters():
        if p.requires_grad:
            p.add_(0.05 * torch.randn(p.shape, generator=generator))
    for name, buffer in module.named_buffers():
        if "running" in name:
            buffer.add_(0.1 * torch.rand(buffer.shape, generator=generator))


def draw(size: ImageSize = SIZE, count: int = 2) -> Tensor:
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def taken(tmp_path: Path) -> Import:
    """Save a checkpoint and import it."""

    def run(content: Any, source: Source, size: ImageSize | None = None, backbone: str = "", **given: Any) -> Detector:
        file = tmp_path / "checkpoint.pt"
        torch.save(content, file)
        with open_checkpoint(file) as checkpoint:
            return assemble_detector(read_parts(checkpoint, source, backbone or None), size, given)

    return run


def of_gathierry(model: peers.FastFlow) -> dict[str, Any]:
    optimizer = torch.optim.Adam(p for p in model.parameters() if p.requires_grad)
    return {"epoch": 3, "model_state_dict": model.state_dict(), "optimizer_state_dict": optimizer.state_dict()}


def of_anomalib(model: nn.Module, **more: Any) -> dict[str, Any]:
    state = {f"model.{key}": tensor for key, tensor in model.state_dict().items()}
    thresholds = {"post_processor._image_threshold": torch.tensor(torch.nan)}
    return {"state_dict": OrderedDict(state | thresholds), "pytorch-lightning_version": "2.6.0", **more}


def of_cflow_ad(encoder: nn.Module, model: peers.CFlow) -> dict[str, Any]:
    return {
        "encoder_state_dict": encoder.state_dict(),
        "decoder_state_dict": [decoder.state_dict() for decoder in model.decoders],
    }


@torch.no_grad()
def assert_same_maps(detector: Detector, model: nn.Module, size: ImageSize = SIZE) -> None:
    """Compare maps, ours with constants from the same images, of which other code bases take theirs."""
    images = draw(size)
    features = detector.encode(images)
    detector.calibrate([features])
    actual, expected = detector.anomaly_map(features), model(images)
    assert float(expected.max() - expected.min()) > 0.05
    torch.testing.assert_close(actual.double(), expected.double(), atol=1e-4, rtol=0)


@pytest.mark.parametrize(("kernels", "ratio"), [((3,), 1.0), ((3, 1), 0.16)])
def test_fastflow_of_gathierry(taken: Import, kernels: tuple[int, ...], ratio: float) -> None:
    model = peers.gathierry(steps=3, kernels=kernels, ratio=ratio)
    disturb(model)
    detector = taken(of_gathierry(model), "gathierry")
    options = detector.init_args
    assert (options["steps"], options["kernel_sizes"], options["hidden_ratio"]) == (3, list(kernels), ratio)
    assert (detector.image_size, options["backbone"], options["clamp"]) == (SIZE, "resnet18", 2.0)
    assert_same_maps(detector, model)


def test_fastflow_of_anomalib_with_objects_among_its_settings(taken: Import) -> None:
    model = peers.anomalib_fastflow(kernels=(3, 1))
    disturb(model)
    settings = {"backbone": "resnet18", "pre_processor": Settings(), "path": Path("x"), "class": nn.Conv2d}
    assert_same_maps(taken(of_anomalib(model, hyper_parameters=settings), "anomalib"), model)


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("layers", [(2, 3), (1, 2, 4)])
def test_cflow_of_anomalib(taken: Import, soft: bool, layers: tuple[int, ...]) -> None:
    model = peers.anomalib_cflow(layers, soft, condition=32)
    disturb(model)
    detector = taken(of_anomalib(model), "anomalib", SIZE)
    options = detector.init_args
    assert (options["condition"], options["layers"], options["clamp"]) == (32, list(layers), 1.9)
    assert options["permutation"] == ("soft" if soft else "hard")
    assert_same_maps(detector, model)


@pytest.mark.parametrize(("layers", "condition"), [(3, 128), (2, 128), (3, 0)])
def test_cflow_of_cflow_ad(taken: Import, layers: int, condition: int) -> None:
    encoder, model = peers.cflow_ad(layers=layers, condition=condition)
    disturb(encoder)
    disturb(model)
    detector = taken(of_cflow_ad(encoder, model), "cflow-ad", SIZE)
    options = detector.init_args
    assert (options["layers"], options["condition"]) == ([2, 3, 4][-layers:], condition)
    assert options["padding"] == "reflect"
    assert_same_maps(detector, model)


@pytest.mark.slow
@pytest.mark.parametrize("layers", [3, 2])
def test_transformer_of_cflow_ad(taken: Import, layers: int) -> None:
    encoder, model = peers.cflow_ad("vit_base_patch16_224", layers)
    disturb(model)
    detector = taken(of_cflow_ad(encoder, model), "cflow-ad")
    assert detector.image_size == (224, 224)
    assert detector.mean == detector.std == (0.5, 0.5, 0.5)
    assert detector.init_args["layers"] == [2, 6, 10][:layers]
    assert_same_maps(detector, model, (224, 224))


@pytest.mark.slow
@pytest.mark.parametrize(("backbone", "size"), [("deit_base_distilled_patch16_384", 384), ("cait_m48_448", 448)])
def test_transformers_of_fastflow(taken: Import, backbone: str, size: int) -> None:
    model = peers.gathierry(backbone, size, ratio=0.16)
    disturb(getattr(model, model.name))
    detector = taken(of_gathierry(model), "gathierry")
    assert detector.image_size == (size, size)
    assert_same_maps(detector, model, (size, size))


def test_settings_of_anomalib_are_taken_over(taken: Import) -> None:
    resize = {"class_path": "torchvision.transforms.v2.Resize", "init_args": {"size": [64, 96], "antialias": True}}
    normalise = {
        "class_path": "torchvision.transforms.v2.Normalize",
        "init_args": {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]},
    }
    crop = {"class_path": "torchvision.transforms.v2.CenterCrop", "init_args": {"size": [64, 64]}}

    def content(*transforms: dict[str, Any]) -> dict[str, Any]:
        spec = {"class_path": "torchvision.transforms.v2.Compose", "init_args": {"transforms": list(transforms)}}
        settings = {"layers": ("layer2", "layer3"), "clamp_alpha": 1.5}
        return of_anomalib(model, hyper_parameters=settings, anomalib_pre_processor_config={"transform": spec})

    model = peers.anomalib_cflow((2, 3))
    detector = taken(content(resize, normalise), "anomalib")
    assert detector.image_size == (64, 96)
    assert (detector.mean, detector.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert detector.init_args["clamp"] == 1.5
    with pytest.raises(InputError, match="CenterCrop"):
        taken(content(resize, crop, normalise), "anomalib")


def test_what_is_given_goes_before_what_the_file_says(taken: Import) -> None:
    model = peers.anomalib_cflow((2, 3))
    settings = {"clamp_alpha": 1.5}
    detector = taken(of_anomalib(model, hyper_parameters=settings), "anomalib", (96, 64), clamp=1.2, mean=(0.5,) * 3)
    assert (detector.image_size, detector.init_args["clamp"]) == ((96, 64), 1.2)
    assert detector.mean == (0.5, 0.5, 0.5)


def test_nothing_is_asked_of_the_network_and_no_weights_are_read(taken: Import, monkeypatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("weights were asked for")

    monkeypatch.setattr("timm.models._builder.load_pretrained", refuse)
    assert taken(of_gathierry(peers.gathierry()), "gathierry").init_args["weights"] == "pretrained"


def test_the_image_size_of_a_cflow_must_be_given(taken: Import) -> None:
    with pytest.raises(InputError, match="`image_size` must be given"):
        taken(of_anomalib(peers.anomalib_cflow()), "anomalib")


def test_an_unknown_encoder_must_be_named(taken: Import) -> None:
    content = of_gathierry(peers.gathierry("resnet26"))
    with pytest.raises(InputError, match="`backbone`"):
        taken(content, "gathierry")
    assert taken(content, "gathierry", backbone="resnet26").init_args["backbone"] == "resnet26"
    with pytest.raises(InputError, match="`backbone`"):
        taken(content, "gathierry", backbone="resnet18")


def test_other_encoders_of_cflow_ad_are_refused(taken: Import) -> None:
    encoder, model = peers.cflow_ad()
    with pytest.raises(InputError, match="only its ResNets and ViTs"):
        taken(of_cflow_ad(encoder, model), "cflow-ad", backbone="efficientnet_b5")


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    """Weights of a whole FastFlow."""
    return peers.gathierry().state_dict()


FLOW = "nf_flows.1.module_list.0."


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.pop(FLOW + "w_perm"), "Block 0 of flow 1 .* lacks w_perm"),
        (lambda s: s.update({FLOW + "vk_householder": torch.zeros(1)}), "vk_householder cannot be imported"),
        (lambda s: s.update({FLOW + "w_perm": torch.zeros(3, 3)}), "shapes"),
        (lambda s: s.update({FLOW + "subnet.0.weight": torch.zeros(3)}), "shapes"),
        (lambda s: s.update({FLOW + "subnet.2.bias": torch.zeros(3)}), "do not fit"),
        (lambda s: s.update({"nf_flows.7.module_list.0.w_perm": torch.zeros(1)}), "not numbered"),
        (lambda s: s.update({"nf_flows.x": torch.zeros(1)}), "not numbered"),
        (lambda s: s.update({"nf_flows.1.scale": torch.zeros(1)}), "more than blocks"),
        (lambda s: s.update({FLOW + "w_perm": torch.full((128, 128, 1, 1), 0.1)}), "steps.2.order"),
        (lambda s: s.update({"head.weight": torch.zeros(1)}), "head.weight"),
        (lambda s: s.update({"feature_extractor.layer1.0.se.weight": torch.zeros(1)}), "layer1.0.se.weight"),
        (lambda s: s.pop("feature_extractor.layer1.0.conv1.weight"), "layer1.0.conv1.weight"),
        (lambda s: s.pop("norms.2.bias"), "norms.2.bias"),
        (lambda s: s["norms.2.bias"].fill_(torch.nan), "norms.2.bias"),
        (lambda s: s.update({FLOW + "w_perm": "text"}), "w_perm"),
        (lambda s: s.update({3: torch.zeros(1)}), "not a dictionary of tensors"),
        (lambda s: [s.pop(k) for k in list(s) if k.startswith("nf_flows")], "flows"),
        (lambda s: s.clear(), "flows"),
    ],
)
def test_what_does_not_fit_is_named(
    taken: Import, weights: dict[str, Tensor], change: Callable[[Any], Any], words: str
) -> None:
    content = {"model_state_dict": {key: tensor.clone() for key, tensor in weights.items()}}
    change(content["model_state_dict"])
    with pytest.raises(InputError, match=words):
        taken(content, "gathierry")


def test_transforms_that_mean_nothing_do_no_harm(taken: Import) -> None:
    model = peers.anomalib_cflow()
    for transform in (3, [3], {"init_args": {"transforms": [3, {}]}}, {"init_args": {"transforms": 3}}):
        content = of_anomalib(model, anomalib_pre_processor_config={"transform": transform})
        try:
            assert taken(content, "anomalib", SIZE).image_size == SIZE
        except InputError as error:
            assert "prepares images" in str(error)  # noqa: PT017 - it may, but nothing else


@pytest.mark.parametrize("settings", [3, {"backbone": 3, "layers": 4}, {"layers": [{}, None]}, {"clamp_alpha": "x"}])
def test_settings_that_mean_nothing_do_no_harm(taken: Import, settings: Any) -> None:
    content = of_anomalib(peers.anomalib_cflow(), hyper_parameters=settings)
    try:
        assert taken(content, "anomalib", SIZE).init_args["layers"] == [2, 3]
    except InputError as error:
        assert "feature maps of resnet18" in str(error)  # noqa: PT017 - it may, but nothing else


@pytest.mark.parametrize("name", ["hf-hub:someone/model", "local-dir:/tmp", "nothing"])
def test_a_file_cannot_make_timm_load_another(taken: Import, name: str) -> None:
    content = of_anomalib(peers.anomalib_cflow(), hyper_parameters={"backbone": name})
    with pytest.raises(InputError, match="There is no backbone"):
        taken(content, "anomalib", SIZE)


def test_the_right_code_base_is_named(taken: Import) -> None:
    with pytest.raises(InputError, match="`from` gathierry"):
        taken({"model_state_dict": {}}, "cflow-ad")
    with pytest.raises(InputError, match="not a checkpoint of anomalib: name another file"):
        taken({"model": 3}, "anomalib")
    with pytest.raises(InputError, match="neither anomalib's FastFlow nor its CFLOW"):
        taken({"state_dict": {"model.w": torch.zeros(1)}, "pytorch-lightning_version": "2"}, "anomalib")
