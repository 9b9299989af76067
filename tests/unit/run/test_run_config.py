"""A configuration survives plain types and YAML; invalid values give one sentence that names the field."""

import dataclasses
import tempfile
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from anomalib_flows.core import registry
from anomalib_flows.core.errors import InputError
from anomalib_flows.run.component import Component
from anomalib_flows.run.config import TrainConfig
from anomalib_flows.run.directory import Run
from anomalib_flows.run.options import (
    AUGMENTATION_LIMITS,
    AugmentOptions,
    HeatmapOptions,
    ImageOptions,
    LoaderOptions,
    SplitOptions,
    TrainerOptions,
)

KINDS: tuple[registry.Kind, ...] = ("models", "datasets")
many = settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
shares = st.floats(0, 1, exclude_min=True, exclude_max=True)
sides = st.integers(1, 4096)
sizes = st.one_of(sides, st.tuples(sides, sides), sides.map(str), st.builds("{},{}".format, sides, sides))


def words(record: type[Any], field: str) -> SearchStrategy[str]:
    """One of the words that a field takes."""
    return st.sampled_from(get_args(get_type_hints(record)[field]))


def values(annotation: Any) -> SearchStrategy[Any]:
    """Values of a declared type of an argument."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return st.sampled_from(inner)
    if origin in (Union, UnionType):
        return st.one_of(*map(values, inner))
    if origin is tuple:
        return st.tuples(*map(values, [part for part in inner if part is not ...]))
    if origin is dict:
        return st.dictionaries(text, st.one_of(st.integers(), text, st.booleans()), max_size=2)
    if origin is not None:  # a list or another sequence
        return st.lists(values(inner[0]), max_size=3)
    return {
        bool: st.booleans(),
        int: st.integers(),
        float: st.floats(allow_nan=False, allow_infinity=False),
        str: text,
        Path: text.map(Path),
        type(None): st.none(),
    }[annotation]


def hints_of(cls: type[Any]) -> dict[str, Any]:
    if dataclasses.is_dataclass(cls):
        return get_type_hints(cls)
    constructors = [vars(base)["__init__"] for base in reversed(cls.__mro__) if "__init__" in vars(base)]
    return {name: hint for made in constructors for name, hint in get_type_hints(made).items()}


def components(kind: registry.Kind) -> SearchStrategy[Component]:
    """Any registered class with some of its arguments."""

    def of(name: str) -> SearchStrategy[Component]:
        cls = registry.load(kind, name)
        hints, known = hints_of(cls), [n for n in registry.parameters(cls) if n != "image_size"]
        arguments = st.fixed_dictionaries({}, optional={argument: values(hints[argument]) for argument in known})
        return st.builds(Component, st.just(name), arguments)

    return st.sampled_from(registry.names(kind)).flatmap(of)


def augmentations() -> SearchStrategy[AugmentOptions]:
    return st.builds(
        AugmentOptions,
        **{name: st.floats(0, limit) for name, limit in AUGMENTATION_LIMITS.items()},
        flip=st.booleans(),
        zoom=st.floats(0.1, 10),
        interpolation=words(AugmentOptions, "interpolation"),
        border=words(AugmentOptions, "border"),
    )


def trainers() -> SearchStrategy[TrainerOptions]:
    return st.builds(
        TrainerOptions,
        max_epochs=st.integers(1, 10**6),
        accelerator=words(TrainerOptions, "accelerator"),
        precision=words(TrainerOptions, "precision"),
        compile=st.booleans(),
        gradient_clip=st.none() | st.floats(0, 1e6, exclude_min=True),
        cache=words(TrainerOptions, "cache"),
        cache_size=st.floats(0, 1e9, exclude_min=True, exclude_max=True),
        cache_dtype=words(TrainerOptions, "cache_dtype"),
        cache_variants=st.integers(0, 100),
        logger=words(TrainerOptions, "logger"),
    )


def loaders() -> SearchStrategy[LoaderOptions]:
    return st.builds(
        LoaderOptions,
        batch_size=st.integers(1, 4096),
        workers=st.none() | st.integers(0, 64),
        cache=words(LoaderOptions, "cache"),
        cache_size=st.floats(0, 1e9, exclude_min=True),
        on_error=words(LoaderOptions, "on_error"),
    )


def configs() -> SearchStrategy[TrainConfig]:
    return st.builds(
        TrainConfig,
        model=components("models"),
        data=st.none() | components("datasets"),
        image=st.builds(ImageOptions, size=sizes, resize=words(ImageOptions, "resize")),
        split=st.builds(SplitOptions, calibration_fraction=shares, validation_fraction=st.just(0.0) | shares),
        loader=loaders(),
        trainer=trainers(),
        heatmap=st.builds(HeatmapOptions, smoothing=st.floats(0, 100), top_percent=st.floats(0, 100)),
        augment=augmentations(),
        false_alarm_rate=shares,
        protocol=words(TrainConfig, "protocol"),
        seed=st.integers(0, 2**64 - 1),
        output=text.map(Path),
        pictures=st.integers(0, 10**6),
    )


@many
@given(configs())
@example(TrainConfig(model=Component("fastflow"), output=Path("größe\x85")))
def test_a_configuration_survives_plain_types_and_yaml(config: TrainConfig) -> None:
    plain = config.to_dict()
    assert TrainConfig.from_dict(plain) == config
    assert TrainConfig.from_dict(yaml.safe_load(yaml.safe_dump(plain))) == config
    with tempfile.TemporaryDirectory() as folder:
        Run(Path(folder)).write_config(config)
        assert Run(Path(folder)).config() == config


@many
@given(configs())
def test_a_configuration_does_not_change_with_its_dictionary(config: TrainConfig) -> None:
    before, plain = config.to_dict(), config.to_dict()
    plain["loader"]["batch_size"] = -1
    plain["model"]["init_args"]["more"] = 1
    assert config.to_dict() == before


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in KINDS for name in registry.names(kind)])
def test_the_arguments_of_every_class_are_drawn(kind: registry.Kind, name: str) -> None:
    """The properties above count for what they draw from."""
    cls = registry.load(kind, name)
    hints = hints_of(cls)
    for argument in [n for n in registry.parameters(cls) if n != "image_size"]:
        values(hints[argument])


def test_names_alone_are_enough() -> None:
    config = TrainConfig.from_dict({"model": "fastflow", "data": "synthetic"})
    assert config == TrainConfig(model=Component("fastflow"), data=Component("synthetic"))
    assert TrainConfig.from_dict({"model": "fastflow"}).data is None


def test_whole_numbers_and_text_become_the_declared_types() -> None:
    given_values = {"loader": {"cache_size": 4}, "split": {"calibration_fraction": "0.5"}, "output": "a/b"}
    config = TrainConfig.from_dict({"model": "fastflow", **given_values})
    assert (config.loader.cache_size, config.split.calibration_fraction, config.output) == (4.0, 0.5, Path("a/b"))


def with_value(field: str, value: object) -> dict[str, Any]:
    """A valid configuration in plain types, but for the field of a dotted name."""
    made: dict[str, Any] = {"model": {"class_path": "fastflow"}, "data": {"class_path": "synthetic"}}
    *records, name = field.split(".")
    inner = made
    for record in records:
        inner = inner.setdefault(record, {})
    inner[name] = value
    return made


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("image", 5, "it must be a record of names and values"),
        ("image.size", 0, "is not a size: write 256"),
        ("image.size", 2.5, "it must be a valid integer"),
        ("image.size", None, "it must be"),
        ("image.resize", "crop", "it must be 'stretch' or 'pad'"),
        ("split.calibration_fraction", 1, "a share between 0 and 1"),
        ("split.validation_fraction", "half", "it must be a valid number"),
        ("loader", None, "it must be a record of names and values"),
        ("loader", [], "it must be a record of names and values"),
        ("loader.batch_size", 0, "at least 1"),
        ("loader.batch_size", "many", "it must be a valid integer"),
        ("loader.batch_size", 2.5, "it must be a valid integer"),
        ("loader.workers", -1, "at least 0"),
        ("loader.workers", "two", "it must be a valid integer"),
        ("loader.cache", "tape", "it must be 'none', 'memory' or 'disk'"),
        ("loader.cache_size", 0, "above 0, in GB"),
        ("loader.on_error", "ask", "it must be 'stop' or 'skip'"),
        ("trainer.max_epochs", 0, "at least 1"),
        ("trainer.accelerator", "tpu", "it must be 'auto', 'cpu' or 'cuda'"),
        ("trainer.precision", 64, "it must be 'auto', '32', 'bf16-mixed' or '16-mixed'"),
        ("trainer.compile", "maybe", "it must be a valid boolean"),
        ("trainer.gradient_clip", 0, "above 0"),
        ("trainer.gradient_clip", "no", "it must be a valid number"),
        ("trainer.cache_size", 1e9, "above 0 and below a million"),
        ("trainer.cache_dtype", "int8", "'computed', 'float32', 'bfloat16' or 'float16'"),
        ("trainer.cache_variants", -1, "at least 0"),
        ("heatmap.smoothing", -1, "from 0 to 100 pixels"),
        ("heatmap.top_percent", 101, "from 0 to 100"),
        ("augment.rotate", 181, "from 0 to 180"),
        ("augment.zoom", 0, "a factor from 0.1 to 10"),
        ("augment.flip", "often", "it must be a valid boolean"),
        ("augment.border", "mirror", "it must be 'reflection' or 'zeros'"),
        ("false_alarm_rate", 0, "between 0 and 1"),
        ("false_alarm_rate", "low", "it must be a valid number"),
        ("protocol", "papers", "it must be 'calibrated' or 'paper'"),
        ("seed", -1, "at least 0"),
        ("seed", "x", "it must be a valid integer"),
        ("pictures", -1, "at least 0; 0 draws none"),
        ("output", 5, "it must be a valid path"),
        ("model", 5, "it must be a record of names and values"),
        ("model.class_path", 3, "it must be a text"),
        ("model.init_args", 5, "it must be a valid record of names and values"),
        ("data", 5, "it must be a record of names and values"),
        ("data.class_path", None, "it must be a text"),
    ],
)
def test_an_invalid_value_gives_one_sentence_that_names_the_field(field: str, value: object, reason: str) -> None:
    with pytest.raises(InputError) as raised:
        TrainConfig.from_dict(with_value(field, value))
    message = str(raised.value)
    assert raised.value.fields == (field,)
    assert reason in message
    assert message.startswith(f"`{field}` ")
    assert message.endswith(".")
    assert len(message.splitlines()) == 1
    assert "--" not in message


@pytest.mark.parametrize(
    ("given_values", "field"),
    [({}, "model"), ({"model": {}}, "model.class_path"), ({"model": "fastflow", "data": {}}, "data.class_path")],
)
def test_what_is_missing_is_named(given_values: dict[str, Any], field: str) -> None:
    with pytest.raises(InputError) as raised:
        TrainConfig.from_dict(given_values)
    assert str(raised.value) == f"`{field}` must be given."


@pytest.mark.parametrize(
    ("field", "close"),
    [
        ("modle", "model"),
        ("image.siez", "image.size"),
        ("loader.batchsize", "loader.batch_size"),
        ("trainer.max_epoch", "trainer.max_epochs"),
        ("augment.rotation", "augment.rotate"),
        ("model.init_arg", "model.init_args"),
        ("data.init_arg", "data.init_args"),
    ],
)
def test_unknown_fields_list_close_ones(field: str, close: str) -> None:
    with pytest.raises(InputError) as raised:
        TrainConfig.from_dict(with_value(field, 1))
    assert str(raised.value).startswith(f"There is no field '{field}': did you mean '{close}'")
