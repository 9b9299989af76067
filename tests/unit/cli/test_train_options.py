"""The command line fills in the configuration of a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from anomalib_flows import FastFlow
from anomalib_flows.cli import main
from anomalib_flows.core import registry
from anomalib_flows.data.datasets import synthetic
from anomalib_flows.run.config import TrainConfig
from anomalib_flows.run.configurations import config_names, find_config
from trees import CASES, SEVERAL, Options, case_name

MODEL = ["--model=fastflow", "--model.backbone=tf_efficientnet_lite0"]
DATA = ["--data=synthetic", "--data.category=board"]


def test_options_fill_in_the_record(parsed) -> None:
    config = parsed("train", *MODEL, *DATA, "--image.size=64", "--trainer.max_epochs", 3, "--augment.flip=true")
    assert (config.model.class_path, config.data.class_path) == ("fastflow", "synthetic")
    assert config.model.init_args["backbone"] == "tf_efficientnet_lite0"
    assert config.data.init_args["category"] == "board"
    assert config.image.height_width == (64, 64)
    assert config.trainer.max_epochs == 3
    assert config.augment.flip is True


def test_the_order_of_options_does_not_matter(parsed, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("seed: 3\nmodel: {class_path: fastflow, init_args: {steps: 6}}\n")
    file = ["-c", str(tmp_path / "mine.yaml")]
    options = ["--model.steps", "2", "--data.category", "board", "--data", "synthetic", "--seed", "1"]
    first, second = parsed("train", *file, *options), parsed("train", *options, *file)
    assert first == second
    assert (first.model.init_args["steps"], first.seed) == (2, 1)


@pytest.mark.parametrize("option", ["--false-alarm-rate", "--false_alarm_rate"])
def test_hyphens_and_underscores_are_the_same(parsed, option: str) -> None:
    assert parsed("train", *MODEL, *DATA, f"{option}=0.3").false_alarm_rate == 0.3


def test_later_configurations_replace_values_of_earlier_ones(parsed, tmp_path: Path) -> None:
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text("trainer: {max_epochs: 5, precision: bf16-mixed}\nseed: 1\ndata: synthetic\nmodel: fastflow\n")
    second.write_text("trainer: {max_epochs: 7}\n")
    config = parsed("train", "-c", first, f"-c{second}")
    assert (config.trainer.max_epochs, config.trainer.precision, config.seed) == (7, "bf16-mixed", 1)


PAIRS = [("fastflow", *case) for case in [*CASES, *SEVERAL.items()]]
PAIRS += [(model, *CASES[0]) for model in registry.names("models")]


@pytest.mark.filterwarnings("ignore:(cat|dog) of CIFAR-10 is published with")  # a class of it cannot be small
@pytest.mark.parametrize(("model", "name", "make"), PAIRS, ids=case_name)
def test_a_configuration_survives_being_written_and_read(
    parsed, model: str, name: str, make: Callable[[Path], Options], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for count in ("TRAIN_GOOD", "TEST_GOOD", "TEST_DEFECTIVE"):
        monkeypatch.setattr(synthetic, count, 4)
    config = parsed("train", "--model", model, "--data", name, *typed("data", make(tmp_path / "tree")), "--seed=4")
    assert (config.model.class_path, config.data.class_path) == (model, name)
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(config.to_dict()))
    assert parsed("train", "-c", file) == config == TrainConfig.from_dict(config.to_dict())
    assert parsed("train", "-c", file, "--seed=5") == dataclasses.replace(config, seed=5)
    config.data.build("datasets").samples()


def typed(key: str, options: Options) -> list[str]:
    """Write options as a user types them."""
    lists = {name: f"[{','.join(map(str, value))}]" for name, value in options.items() if isinstance(value, list)}
    return [f"--{key}.{name}={value}" for name, value in (options | lists).items()]


@pytest.mark.parametrize("name", config_names())
def test_configurations_of_the_package_are_records(parsed, name: str) -> None:
    config = parsed("train", "-c", name)
    written = yaml.safe_load(find_config(name).read_text())
    for key in ("model", "data"):
        arguments: dict[str, Any] = written[key]["init_args"]
        assert {k: config.to_dict()[key]["init_args"][k] for k in arguments} == arguments


def test_the_printed_configuration_makes_the_same_run(parsed, tmp_path: Path, capsys) -> None:
    options = [*MODEL, *DATA, "--heatmap.smoothing=2", "--output", str(tmp_path)]
    with pytest.raises(SystemExit):
        main(["train", *options, "--print_config"])
    file = tmp_path / "printed.yaml"
    file.write_text(capsys.readouterr().out)
    assert parsed("train", "-c", file) == parsed("train", *options)


def test_the_published_recipe_lies_below_configurations_and_options(parsed, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("model: {class_path: fastflow, init_args: {clamp: 0.7}}\nprotocol: paper\n")
    config = parsed("train", "-c", file, *DATA, "--model.steps=3")
    expected = FastFlow.published | {"clamp": 0.7, "steps": 3}
    assert {name: config.model.init_args[name] for name in expected} == expected
    assert config.heatmap.top_percent == 0


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ([*MODEL, *DATA, "--data.image_size=64"], "--data.image_size is now --image.size."),
        ([*MODEL, *DATA, "--data.on-error=skip"], "--data.on_error is now --loader.on_error."),
        ([*MODEL, *DATA, "--data.validation_fraction=0.4"], "--data.validation_fraction is now"),
        (["--model=cflow", *DATA, "--model.fibre_batch=32"], "--model.fibre_batch is now --model.vectors_per_step."),
        (["--model=cflow", *DATA, "--model.max_fibres=32"], "--model.max_fibres is now --model.max_vectors."),
        ([*MODEL, *DATA, "--sed=3"], "There is no option --sed: did you mean --seed"),
        ([*MODEL, *DATA, "--trainer.max_epoch=3"], "--trainer.max_epochs"),
        ([*MODEL, *DATA, "--trainer.max_epochs=0"], "--trainer.max_epochs cannot be 0: it must be at least 1."),
        ([*MODEL, *DATA, "--seed=few"], "--seed cannot be few"),
        ([*MODEL, *DATA, "--protocol=papers"], "--protocol cannot be papers"),
        ([*MODEL, "--data=mvtec"], "--data.root must be given, as there is no folder datasets/mvtec: name"),
        (MODEL, "--data must be given."),
        ([], "--model and --data must be given."),
    ],
)
def test_a_mistake_is_answered_with_the_option(fails, options: list[str], sentence: str) -> None:
    assert sentence in fails("train", *options)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("data: {class_path: synthetic, init_args: {image_size: 64}}", ["data.image_size", "is now", "image.size"]),
        (
            "data: {class_path: synthetic, init_args: {batch_size: 4}}",
            ["data.batch_size", "is now", "loader.batch_size"],
        ),
        ("trainer: {max_epoch: 3}", ["max_epoch"]),
        ("trainer: {max_epochs: 0}", ["--trainer.max_epochs cannot be 0"]),
        ("sed: 3", ["sed"]),
        ("model: [fastflow", ["YAML"]),
    ],
)
def test_a_mistake_in_a_configuration_is_answered(fails, tmp_path: Path, text: str, words: list[str]) -> None:
    (tmp_path / "mine.yaml").write_text(f"{text}\n")
    options = [option for option in (*MODEL, *DATA) if option.partition("=")[0][2:] != text.partition(":")[0]]
    message = fails("train", "-c", tmp_path / "mine.yaml", *options)
    assert all(word in message for word in words), message
