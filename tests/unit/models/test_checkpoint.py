"""A checkpoint restores every bit; files that are damaged, foreign or hostile are refused and never run."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
import timm
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.types import ImageSize
from anomalib_flows.inference.fitting import calibrate_postprocess
from anomalib_flows.models import checkpoint
from anomalib_flows.models.base import Detector, Features
from anomalib_flows.models.fastflow import FastFlow
from anomalib_flows.models.pipeline import Pipeline
from anomalib_flows.run.component import Component
from anomalib_flows.run.validation import plain

SIZE = (64, 96)


class Brightness(Detector):
    """A detector of someone else's: its map is the weighted brightness."""

    def __init__(self, image_size: ImageSize, gain: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((3, 1, 1), gain))

    def encode(self, images: Tensor) -> Features:
        return [images]

    def loss(self, batch: Features) -> Tensor:
        return self.anomaly_map(batch).mean()

    def anomaly_map(self, features: Features) -> Tensor:
        return (self.weight * features[0]).mean(1, keepdim=True)


def images(count: int, seed: int = 0) -> Tensor:
    return torch.randint(256, (count, 3, 80, 70), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def calibrated(pipeline: Pipeline) -> Pipeline:
    with torch.no_grad():
        calibrate_postprocess(pipeline.postprocess, pipeline.maps(pipeline.preprocess.resize(images(19))), 0.1)
    return pipeline.eval()


@pytest.fixture
def weights(tmp_path) -> Path:
    torch.manual_seed(3)
    file = tmp_path / "encoder.safetensors"
    save_file(timm.create_model("test_resnet").state_dict(), file)
    return file


@pytest.fixture
def make_pipeline(disturb, weights) -> Callable[..., Pipeline]:
    def make(**options: Any) -> Pipeline:
        torch.manual_seed(0)
        settings = {"weights": weights, "steps": 2, "kernel_sizes": (3, 1), "mean": (0.5, 0.4, 0.3)} | options
        model = FastFlow(SIZE, "test_resnet", **settings)
        disturb(model.flows, scale=0.02)
        return calibrated(Pipeline(model, "pad"))

    return make


def rewrite(file: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change what a checkpoint says about how to build it."""
    description = {"model": {"class_path": "fastflow", "init_args": {}}, "image_size": list(SIZE)}
    description |= {"format": checkpoint.FORMAT, "version": "9.9.9", "resize": "pad"}
    change(description)
    save_file(load_file(file), file, metadata={"anomalib_flows": json.dumps(description)})


def assert_same(one: Pipeline, other: Pipeline) -> None:
    mine, theirs = one.state_dict(), other.state_dict()
    assert list(mine) == list(theirs)
    for name, tensor in mine.items():
        torch.testing.assert_close(theirs[name], tensor, rtol=0, atol=0, equal_nan=True, msg=name)
    with torch.no_grad():
        expected, found = one(images(4, seed=1)), other(images(4, seed=1))
    for field in ("scores", "maps"):
        torch.testing.assert_close(getattr(found, field), getattr(expected, field), rtol=1e-6, atol=1e-6)


def test_round_trip_is_bit_for_bit_and_needs_no_other_file(tmp_path, make_pipeline, weights) -> None:
    pipeline, file = make_pipeline(), tmp_path / "sub" / "model.safetensors"
    checkpoint.save_pipeline(pipeline, file)
    weights.unlink()
    before = torch.random.get_rng_state()
    loaded = checkpoint.load_pipeline(file)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert_same(pipeline, loaded)
    assert len(loaded.postprocess.calibration_scores) == 19
    assert loaded.postprocess.calibrated
    assert not any(module.training for module in loaded.modules())
    assert loaded.preprocess.mode == "pad"
    assert loaded.detector.image_size == SIZE
    assert torch.equal(loaded.preprocess.mean, pipeline.preprocess.mean)
    assert checkpoint.describe_pipeline(loaded) == checkpoint.describe_pipeline(pipeline)
    assert [f.name for f in file.parent.iterdir()] == ["model.safetensors"]

    again = tmp_path / "again.safetensors"
    checkpoint.save_pipeline(loaded, again)
    assert again.read_bytes() == file.read_bytes()


def test_an_uncalibrated_pipeline_stays_uncalibrated(tmp_path, weights) -> None:
    pipeline = Pipeline(FastFlow(SIZE, "test_resnet", weights=weights, steps=1)).eval()
    checkpoint.save_pipeline(pipeline, tmp_path / "model.safetensors")
    loaded = checkpoint.load_pipeline(tmp_path / "model.safetensors")
    assert not loaded.postprocess.calibrated
    assert_same(pipeline, loaded)


def test_models_of_others_come_back_by_their_dotted_path(tmp_path) -> None:
    pipeline, file = calibrated(Pipeline(Brightness(SIZE, gain=2.5))), tmp_path / "model.safetensors"
    checkpoint.save_pipeline(pipeline, file)
    loaded = checkpoint.load_pipeline(file)
    assert type(loaded.detector) is Brightness
    assert loaded.detector.init_args == {"gain": 2.5}
    assert_same(pipeline, loaded)


def test_no_hub_is_asked_for_a_model_made_with_pretrained_weights(tmp_path, monkeypatch, make_pipeline) -> None:
    file = tmp_path / "model.safetensors"
    pipeline = make_pipeline()
    pipeline.detector.init_args["weights"] = "pretrained"
    checkpoint.save_pipeline(pipeline, file)

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("weights were asked for")

    monkeypatch.setattr("timm.models._builder.load_pretrained", refuse)
    assert_same(pipeline, checkpoint.load_pipeline(file))


@pytest.fixture
def saved(tmp_path, make_pipeline) -> Path:
    file = tmp_path / "model.safetensors"
    checkpoint.save_pipeline(make_pipeline(), file)
    return file


def assert_refused(file: Path, pattern: str | None = None) -> None:
    with pytest.raises(InputError, match=pattern) as raised:
        checkpoint.load_pipeline(file)
    assert str(file) in str(raised.value)


def test_damaged_files_are_refused(tmp_path, saved) -> None:
    whole = saved.read_bytes()
    header = int.from_bytes(whole[:8], "little")
    noise = bytes((i * 97 + i // 7) % 256 for i in range(5000))
    for length in (0, 1, 7, 8, 9, header, header + 8, len(whole) // 2, len(whole) - 1):
        saved.write_bytes(whole[:length])
        assert_refused(saved, "damaged")
    for content in (noise, whole[:8] + noise, b"\0" * 4096, b"\xff" * 64, b"PK\3\4" + noise):
        saved.write_bytes(content)
        assert_refused(saved, "damaged")


def test_missing_files_and_folders_are_refused(tmp_path) -> None:
    assert_refused(tmp_path / "nothing.safetensors", "There is no model")
    assert_refused(tmp_path, "There is no model")


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_foreign_files_are_refused(tmp_path, metadata) -> None:
    file = tmp_path / "foreign.safetensors"
    save_file({"weight": torch.zeros(3)}, file, metadata=metadata)
    assert_refused(file, "not a model of anomalib-flows")


@pytest.mark.parametrize(
    "text",
    ["{", "[]", "3", '"fastflow"', "{}", '{"format": "1"}', '{"format": 1}', '{"format": 1, "model": []}'],
)
def test_unusable_descriptions_are_refused(saved, text) -> None:
    save_file(load_file(saved), saved, metadata={"anomalib_flows": text})
    assert_refused(saved)


@pytest.mark.parametrize(
    ("class_path", "size", "options"),
    [
        ("subprocess.Popen", ["touch"], {}),
        ("subprocess.Popen", [], {"args": ["touch"]}),
        ("subprocess.run", [], {"args": ["touch"]}),
        ("os.system", ["touch"], {}),
        ("builtins.exec", ["touch"], {}),
        ("torch.nn.Linear", [3, 3], {}),
        ("anomalib_flows.models.pipeline.Pipeline", [3, 3], {}),
    ],
)
@pytest.mark.parametrize("trust", [False, True])
def test_what_is_no_detector_is_refused_and_never_called(saved, monkeypatch, class_path, size, options, trust) -> None:
    called = []
    checkpoint.load_pipeline(saved)  # imports pydantic, which calls what is replaced here
    monkeypatch.setattr(subprocess.Popen, "__init__", lambda *_, **__: called.append("Popen"))
    monkeypatch.setattr("os.system", lambda *_: called.append("system"))
    monkeypatch.setattr("builtins.exec", lambda *_: called.append("exec"))
    monkeypatch.setattr(nn.Linear, "__init__", lambda *_, **__: called.append("Linear"))
    monkeypatch.setattr(Pipeline, "__init__", lambda *_, **__: called.append("Pipeline"))
    rewrite(saved, lambda d: d.update(model={"class_path": class_path, "init_args": options}, image_size=size))
    with pytest.raises(InputError, match="image_size|is not a model" + "|No installed package registers" * (not trust)):
        checkpoint.load_pipeline(saved, trust=trust)
    assert not called


@pytest.mark.parametrize(
    "class_path", ["no.such.module", "fastflwo", "anomalib_flows.models.base.Detector", "json.nothing", ".", ""]
)
def test_classes_that_cannot_be_made_are_refused(saved, class_path) -> None:
    rewrite(saved, lambda d: d["model"].update(class_path=class_path))
    with pytest.raises(InputError):
        checkpoint.load_pipeline(saved)


def test_a_checkpoint_cannot_bring_another_weights_file(saved, tmp_path) -> None:
    arguments = {"backbone": "test_resnet", "timm_args": {"checkpoint_path": str(tmp_path / "evil.pt")}}
    rewrite(saved, lambda d: d["model"].update(init_args=arguments))
    with pytest.raises(InputError, match="checkpoint_path"):
        checkpoint.load_pipeline(saved)


def test_unknown_options_are_refused(saved) -> None:
    rewrite(saved, lambda d: d["model"].update(init_args={"depth": 3}))
    assert_refused(saved, "depth")


def test_weights_of_another_model_are_refused(tmp_path, saved) -> None:
    rewrite(saved, lambda d: d["model"].update(init_args={"backbone": "test_resnet", "steps": 3}))
    assert_refused(saved, re.escape("does not hold the weights of the FastFlow"))
    rewrite(saved, lambda d: d["model"].update(class_path=f"{__name__}.Brightness"))
    assert_refused(saved, re.escape("does not hold the weights of the Brightness"))


@pytest.mark.parametrize("change", ["lacking", "extra", "shape", "scores"])
def test_tensors_that_do_not_fit_are_refused(tmp_path, change) -> None:
    file = tmp_path / "model.safetensors"
    checkpoint.save_pipeline(calibrated(Pipeline(Brightness(SIZE))), file)
    tensors = load_file(file)
    if change == "lacking":
        del tensors["detector.weight"]
    elif change == "extra":
        tensors["more"] = torch.zeros(1)
    elif change == "shape":
        tensors["detector.weight"] = torch.zeros(4)
    else:
        tensors["postprocess.calibration_scores"] = torch.tensor(3.0)
    description = json.dumps({"format": checkpoint.FORMAT, **checkpoint.describe_pipeline(Pipeline(Brightness(SIZE)))})
    save_file(tensors, file, metadata={"anomalib_flows": description})
    assert_refused(file, "does not hold the weights")


def test_files_of_earlier_versions_keep_their_thresholds(saved) -> None:
    before, tensors = checkpoint.load_pipeline(saved), load_file(saved)
    del tensors["postprocess.calibration_tops"]
    with safe_open(saved, framework="pt") as opened:
        description = json.loads(opened.metadata()["anomalib_flows"])
    del description["threshold_source"], description["sha256"]
    save_file(tensors, saved, metadata={"anomalib_flows": json.dumps(description)})
    loaded = checkpoint.load_pipeline(saved)
    assert loaded.threshold_source == "false-alarm-rate"
    assert loaded.postprocess.pixel_threshold == before.postprocess.pixel_threshold
    assert torch.equal(loaded.postprocess.calibration_levels(0), before.postprocess.calibration_levels(0))
    with pytest.raises(InputError, match="`decision.mask_area` needs values of maps"):
        loaded.postprocess.calibration_levels(0.1)


class WithoutTail(FastFlow):
    """A plug-in that takes none of FastFlow's options but one, and has replaced an option of its own."""

    earlier: ClassVar[dict[str, Any]] = {"width": 3}

    def __init__(self, image_size, *, steps: int = 1, width: int = 5) -> None:
        super().__init__(image_size, "test_resnet", weights="random", steps=steps, tail=0.0, coarse_weight=1.0)
        self.width = width


def test_models_that_do_not_name_an_option_keep_their_maps(tmp_path, make_pipeline) -> None:
    file, pipeline = tmp_path / "model.safetensors", make_pipeline(**FastFlow.earlier)
    checkpoint.save_pipeline(pipeline, file)
    described = checkpoint.describe_pipeline(pipeline)
    for option in FastFlow.earlier:
        del described["model"]["init_args"][option]
    rewrite(file, lambda d: d.update(described))
    read = checkpoint.load_pipeline(file).detector.init_args
    assert {name: read[name] for name in FastFlow.earlier} == FastFlow.earlier
    assert_same(pipeline, checkpoint.load_pipeline(file))


def test_earlier_values_are_those_of_options_that_a_subclass_takes() -> None:
    recorded = Component(f"{__name__}.WithoutTail", {"steps": 2})
    assert recorded.completed("models").init_args == {"steps": 2, "width": 3}
    given = Component("fastflow", {"tail": 0.5, "coarse_weight": 2.0, "components": 64})
    assert given.completed("models") == given
    assert Component("cflow").completed("models").init_args == {"components": None}


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_one_flipped_bit_is_noticed(saved, share: float, bit: int) -> None:
    content = bytearray(whole := saved.read_bytes())
    start = 8 + int.from_bytes(whole[:8], "little")
    content[start + int(share * (len(whole) - start))] ^= 1 << bit
    saved.write_bytes(content)
    try:
        assert_refused(saved, "damaged")
    finally:
        saved.write_bytes(whole)


def test_newer_formats_ask_for_an_upgrade(saved) -> None:
    rewrite(saved, lambda d: d.update(format=checkpoint.FORMAT + 1))
    assert_refused(saved, "9.9.9: upgrade")


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=repr)
def test_a_failure_while_saving_leaves_the_old_file_and_nothing_else(saved, monkeypatch, error) -> None:
    old, names = saved.read_bytes(), sorted(saved.parent.iterdir())

    def fail(tensors: dict[str, Tensor], file: Path, metadata: dict[str, str]) -> None:
        Path(file).write_bytes(b"half")
        raise error

    pipeline = checkpoint.load_pipeline(saved)
    monkeypatch.setattr(checkpoint, "save_file", fail)
    for target in (saved, saved.with_name("new.safetensors")):
        with pytest.raises(type(error)):
            checkpoint.save_pipeline(pipeline, target)
    assert sorted(saved.parent.iterdir()) == names
    assert saved.read_bytes() == old


def test_plain_values_survive_json() -> None:
    value = {"a": (1, [2.5, (None,)]), "b": {"c": True}, "d": Path("/x/y")}
    plain_value = plain(value)
    assert plain_value == {"a": [1, [2.5, [None]]], "b": {"c": True}, "d": "/x/y"}
    assert json.loads(json.dumps(plain_value)) == plain_value


def test_paths_are_described_as_absolute_ones(monkeypatch, weights) -> None:
    monkeypatch.chdir(weights.parent)
    pipeline = Pipeline(FastFlow(SIZE, "test_resnet", weights=Path(weights.name), steps=1))
    assert checkpoint.describe_pipeline(pipeline)["model"]["init_args"]["weights"] == str(weights)
