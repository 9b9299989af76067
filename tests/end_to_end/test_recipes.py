"""Our recipe and the published one, as a user gets them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from anomalib_flows import FastFlow, load, read_image
from anomalib_flows.cli import main
from anomalib_flows.data.splits import read_splits
from anomalib_flows.models.checkpoint import save_pipeline

pytestmark = pytest.mark.filterwarnings("always")  # the command line prints them

SMALL = [
    "--model.backbone=test_efficientnet",
    "--model.weights=random",
    "--model.steps=1",
    "--image.size=64",
    "--loader.batch_size=3",
]


@pytest.fixture
def fit(tree: Path, tmp_path: Path):
    def run(*options: str) -> Path:
        data = ["--data=mvtec", f"--data.root={tree}", "--data.category=stripes", f"--output={tmp_path}"]
        assert main(["train", *data, "--trainer.max_epochs=1", "--trainer.accelerator=cpu", *SMALL, *options]) == 0
        return max(tmp_path.glob("*/mvtec/stripes/run-*"))

    return run


def printed(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    with pytest.raises(SystemExit):
        main(["train", *arguments, "--print_config"])
    config: dict[str, Any] = yaml.safe_load(capsys.readouterr().out)
    return config


@pytest.mark.parametrize("model", ["fastflow", "cflow"])
def test_features_are_whitened_by_those_of_the_training_images(fit, model: str) -> None:
    options = ["--model.vectors_per_step=32"] if model == "cflow" else []
    options.append("--model.layers=[2,3]")
    run = fit(f"--model={model}", *options)
    pipeline = load(run / "model.safetensors")
    trained = [s.path for s in read_splits(run / "splits.csv") if s.split == "train"]
    images = torch.stack([pipeline.preprocess.resize(read_image(path)) for path in trained])
    for norm, feature in zip(pipeline.detector.norms, pipeline.features(images), strict=True):
        whitened = norm(feature)
        assert float(whitened.mean((0, 2, 3)).abs().max()) < 1e-3
        assert 0.3 < float(whitened.square().mean()) < 1.02  # less than 1 by what few images leave undetermined
    for scale in pipeline.detector.scales:
        assert float(scale.factor.std()) > 0


def test_the_protocol_of_the_papers_brings_their_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    config = printed(["--model=fastflow", "--data=synthetic", "--protocol=paper"], capsys)
    recipe = config["model"]["init_args"]
    assert recipe["backbone"] == "resnet18"
    assert (recipe["norm"], recipe["steps"], recipe["clamp"]) == ("layer", 8, 2.0)
    assert [recipe[name] for name in ("local_scale", "tail", "coarse_weight", "components")] == [0.0, 0.0, 1.0, None]
    assert (recipe["learning_rate"], recipe["schedule"], recipe["strides"]) == (1e-3, "constant", [4, 8, 16])
    assert config["heatmap"]["top_percent"] == 0
    ours = printed(["--model=fastflow", "--data=synthetic"], capsys)["model"]["init_args"]
    assert (ours["norm"], ours["schedule"]) == ("whitened", "cosine")


def test_what_the_user_asks_for_is_kept_under_the_papers_protocol(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "model:\n  class_path: cflow\n  init_args: {steps: 3}\nprotocol: paper\nheatmap: {top_percent: 2}\n"
    )
    config = printed(["-c", str(file), "--data=synthetic", "--model.permutation=hard"], capsys)
    recipe = config["model"]["init_args"]
    assert (recipe["steps"], recipe["permutation"], config["heatmap"]["top_percent"]) == (3, "hard", 2)
    assert recipe["backbone"] == "wide_resnet50_2"
    assert (recipe["norm"], recipe["order"]) == ("none", "published")
    assert (recipe["clamp"], recipe["learning_rate"]) == (1.9, 2e-4)
    back = printed(["-c", str(file), "--data=synthetic", "--protocol=calibrated"], capsys)["model"]["init_args"]
    assert (back["norm"], back["steps"], back["clamp"], back["learning_rate"]) == ("whitened", 3, 0.5, 5e-3)


def test_the_last_configuration_chooses_the_model_and_its_recipe(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text("model: {class_path: cflow, init_args: {backbone: test_resnet, clamp: 0.7}}\nprotocol: paper\n")
    second.write_text("model: {class_path: fastflow}\n")
    config = printed([f"-c{first}", "-c", str(second), "--data=synthetic"], capsys)["model"]
    assert config["class_path"] == "fastflow"
    published = FastFlow.published | {"backbone": "test_resnet"}
    assert {key: config["init_args"][key] for key in published} == published
    assert config["init_args"]["backbone"] == "test_resnet"


def test_a_configuration_that_differs_from_the_published_recipe_is_warned_of(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("model: {class_path: fastflow, init_args: {clamp: 0.7}}\n")
    with pytest.raises(SystemExit):
        main(["train", "-c", str(file), "--data=synthetic", "--protocol=paper", "--print_config"])
    assert "differs: clamp 0.7 (2.0 is published)" in capsys.readouterr().err


def test_options_are_not_abbreviated(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--model=fastflow", "--data=synthetic", "--proto=paper"]) == 2
    assert "--proto" in capsys.readouterr().err


def test_weights_that_move_between_devices_can_still_be_trained(fit, monkeypatch: pytest.MonkeyPatch) -> None:
    def moved(module: torch.nn.Module, *_: Any, **__: Any) -> torch.nn.Module:
        return module._apply(torch.clone)  # as a move to CUDA and back, which makes new tensors

    monkeypatch.setattr(torch.nn.Module, "cpu", moved)
    run = fit("--model=cflow", "--model.vectors_per_step=32", "--model.layers=[2,3]")
    assert (run / "metrics.json").is_file()


def test_a_run_by_the_published_recipe_makes_itself_again(fit) -> None:
    first = fit("--model=fastflow", "--protocol=paper")
    second = fit("-c", str(first / "config.yaml"))
    assert (first / "metrics.json").read_bytes() == (second / "metrics.json").read_bytes()
    assert load(first / "model.safetensors").protocol == "paper"


def test_training_that_was_stopped_is_balanced_when_it_is_calibrated(fit) -> None:
    run = fit("--model=fastflow")
    whole = load(run / "model.safetensors")
    stopped = load(run / "model.safetensors")
    for scale in stopped.detector.scales:
        scale.factor.fill_(1.0)
    stopped.postprocess = type(whole.postprocess)(0, whole.heatmap.top_percent)
    save_pipeline(stopped, run / "model.safetensors")
    assert main(["calibrate", str(run)]) == 0
    for found, expected in zip(load(run / "model.safetensors").detector.scales, whole.detector.scales, strict=True):
        torch.testing.assert_close(found.factor, expected.factor)
