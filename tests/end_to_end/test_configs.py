"""Every configuration that comes with the package is read by the real parser, and its model built."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import yaml

from anomalib_flows import CFlow, FastFlow
from anomalib_flows.cli import main
from anomalib_flows.cli.parser import with_classes
from anomalib_flows.encoders.weights import weights_follow
from anomalib_flows.models.base import Detector
from anomalib_flows.run.configurations import config_names, find_config

HEAVY = {"fastflow/paper/cait_m48", "fastflow/paper/deit_base_distilled"}


def test_there_are_configurations() -> None:
    assert {"fastflow/resnet18", "fastflow/wide_resnet50_2", *HEAVY} <= set(config_names())


@pytest.mark.parametrize("name", config_names())
def test_a_configuration_holds_nothing_but_what_it_says(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["train", "-c", name, "--seed", "7", "--print_config"])
    assert stopped.value.code in (0, None)
    printed = yaml.safe_load(capsys.readouterr().out)
    written = yaml.safe_load(find_config(name).read_text())
    assert printed["seed"] == 7
    for key in written.keys() - {"model", "data"}:
        whole = printed[key]
        assert written[key] == ({name: whole[name] for name in written[key]} if isinstance(whole, dict) else whole)
    for key in ("model", "data"):
        assert_within(written[key]["init_args"], printed[key]["init_args"])


def assert_within(part: dict[str, Any], whole: dict[str, Any]) -> None:
    differing = {key: value for key, value in part.items() if whole[key] != value and str(whole[key]) != str(value)}
    assert not differing


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n in HEAVY else n for n in config_names() if "fastflow" in n]
)
def test_a_configurations_model_takes_these_feature_maps(name: str) -> None:
    config = yaml.safe_load(find_config(name).read_text())
    size = (config["image"]["size"],) * 2
    with weights_follow():
        model = FastFlow(size, **config["model"]["init_args"])
    features = [torch.randn(1, *shape) for shape in model.encoder.shapes]
    assert model.anomaly_map(features).shape == (1, 1 if "/paper/" in name else 2, *size)
    expected = {  # for the paper's, channels of its table 6, and its input sizes over the stride
        "fastflow/resnet18": [(128, 32, 32), (256, 16, 16), (512, 8, 8)],
        "fastflow/wide_resnet50_2": [(512, 32, 32), (1024, 16, 16), (2048, 8, 8)],
        "fastflow/lite0": [(40, 32, 32), (112, 16, 16), (320, 8, 8)],
        "fastflow/mobilenetv2": [(32, 32, 32), (96, 16, 16), (320, 8, 8)],
        "fastflow/paper/resnet18": [(64, 64, 64), (128, 32, 32), (256, 16, 16)],
        "fastflow/paper/wide_resnet50_2": [(256, 64, 64), (512, 32, 32), (1024, 16, 16)],
        "fastflow/paper/deit_base_distilled": [(768, 24, 24)],
        "fastflow/paper/cait_m48": [(768, 28, 28)],
    }
    assert model.encoder.shapes == expected[name]


CFLOW = {  # channels and sizes of the feature maps; the paper's images of MVTec AD's bottle have 512 pixels
    "cflow/resnet18": [(128, 32, 32), (256, 16, 16), (512, 8, 8)],
    "cflow/wide_resnet50_2": [(512, 32, 32), (1024, 16, 16), (2048, 8, 8)],
    "cflow/mobilenetv2": [(32, 32, 32), (96, 16, 16), (320, 8, 8)],
    "cflow/mobilenetv3_large": [(40, 32, 32), (112, 16, 16), (960, 8, 8)],
    "cflow/efficientnet_b5": [(64, 57, 57), (176, 29, 29), (512, 15, 15)],
    "cflow/vit_base": [(768, 24, 24)] * 3,
    "cflow/lite0": [(40, 32, 32), (112, 16, 16), (320, 8, 8)],
    "cflow/mvtec/bottle": [(512, 64, 64), (1024, 32, 32), (2048, 16, 16)],
    "cflow/mvtec/transistor": [(512, 16, 16), (1024, 8, 8), (2048, 4, 4)],
}


def test_every_configuration_of_cflow_is_covered() -> None:
    names = {name for name in config_names() if name.startswith("cflow/")}
    assert {name for name in names if "mvtec" not in name} < CFLOW.keys() <= names
    assert len([name for name in names if name.startswith("cflow/mvtec/")]) == 15


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow) if n in {"cflow/vit_base", "cflow/efficientnet_b5"} else n for n in CFLOW],
)
def test_a_configurations_encoder_gives_these_feature_maps(name: str) -> None:
    config = yaml.safe_load(find_config(name).read_text())
    size = (config["image"]["size"],) * 2
    options = config["model"]["init_args"]
    with weights_follow():  # and a narrow flow of one step, for rotations of 2048 channels take a while to draw
        model = CFlow(size, **options | {"steps": 1, "permutation": "hard"})
    assert model.encoder.shapes == CFLOW[name]


def test_another_dataset_takes_over_no_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "-c", "fastflow/mobilenetv2", "--data", "folder", "--data.normal", "photos", "--print_config"])
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["image"]["size"] == 256
    assert printed["data"]["init_args"]["root"] is None
    assert "category" not in printed["data"]["init_args"]


def test_another_model_takes_over_only_the_encoder_as_far_as_it_has_one() -> None:
    content = yaml.safe_load(find_config("fastflow/mobilenetv2").read_text())
    taken = with_classes(content, {"model": f"{__name__}.OtherFlow"})["model"]
    assert taken == {"class_path": f"{__name__}.OtherFlow", "init_args": {"backbone": "mobilenetv2_100"}}


@pytest.mark.parametrize("name", ["anomalib_flows.FastFlow", f"{__name__}.Widened"])
def test_the_same_model_under_another_name_keeps_everything(name: str) -> None:
    content = yaml.safe_load(find_config("fastflow/mobilenetv2").read_text())
    assert with_classes(content, {"model": name}) == with_classes(content, {})


class OtherFlow(Detector):
    def __init__(self, image_size: tuple[int, int], backbone: str = "resnet18", depth: int = 3) -> None: ...


class Widened(FastFlow): ...
