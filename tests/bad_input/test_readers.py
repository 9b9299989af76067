"""Every reader of a record takes any content: it reads it, or refuses it with one sentence that names the file."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from contextlib import suppress
from datetime import date
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from anomalib_flows import Component, FastFlow, InputError, TrainConfig
from anomalib_flows.core.parsing import parse_json, parse_yaml
from anomalib_flows.core.types import Sample
from anomalib_flows.data.splits import read_splits, write_splits
from anomalib_flows.data.tables import read_table, samples_of
from anomalib_flows.models import checkpoint
from anomalib_flows.models.pipeline import Pipeline
from anomalib_flows.run.directory import Run
from anomalib_flows.runtime.model_card import SECTION, read_card
from tiny_export import CARD, build

BAD: dict[str, Any] = {
    "null": None,
    "text": "x",
    "empty": "",
    "number": 5,
    "negative": -1,
    "zero": 0,
    "large": 2**64,
    "fraction": 0.5,
    "infinite": float("inf"),
    "nan": float("nan"),
    "true": True,
    "list": [1, "x", None],
    "no list": [],
    "record": {"a": 1},
    "no record": {},
    "deep": {"class_path": {"class_path": []}},
    "nul": "a\0b",
    "letters": "\ud800\n\x1b[31m",
}
"""Values of every type, of which at most a few are right in any one place."""

Read = Callable[[Any], Any]


def refused_or_read(read: Callable[[], Any], name: str) -> bool:
    """Return whether a reader refuses: with one sentence, in which a name stands."""
    said = ""
    try:
        read()
    except InputError as error:
        said = str(error)
    assert not said or (name in said and "\n" not in said)
    return bool(said)


def places(values: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of all values in a record."""
    items = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    return [path, *(place for key, value in items for place in places(value, (*path, key)))]


def changed(values: Any, path: tuple[Any, ...], value: Any) -> Any:
    """Return a record with another value at a path."""
    if not path:
        return value
    copy = dict(values) if isinstance(values, dict) else list(values)
    copy[path[0]] = changed(values[path[0]], path[1:], value)
    return copy


CONFIG = TrainConfig(model=Component("fastflow", {"steps": 2}), data=Component("synthetic")).to_dict()


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, torch.Tensor], Path]:
    """The description and the tensors of a model, and a file to write others to."""
    pipeline = Pipeline(FastFlow((32, 32), "test_efficientnet", weights="random", steps=1))
    pipeline.postprocess = type(pipeline.postprocess)(4, 0.5)
    for name, buffer in pipeline.postprocess.named_buffers():
        buffer.copy_(torch.arange(4.0) if buffer.ndim else torch.tensor(float(len(name))))
    file = tmp_path_factory.mktemp("model") / "model.safetensors"
    checkpoint.save_pipeline(pipeline, file)
    checkpoint.load_pipeline(file)
    description = {"format": checkpoint.FORMAT, "version": "0.1.0", **checkpoint.describe_pipeline(pipeline)}
    return description, load_file(file), file


@pytest.mark.parametrize("step", [9, pytest.param(1, marks=pytest.mark.slow)])
def test_the_description_of_a_model_takes_no_wrong_value(saved, step: int) -> None:
    description, tensors, file = saved
    taken = []
    for place, (name, value) in list(product(places(description), BAD.items()))[::step]:
        save_file(tensors, file, metadata={"anomalib_flows": json.dumps(changed(description, place, value))})
        if not refused_or_read(lambda: checkpoint.load_pipeline(file), str(file)):
            taken.append((".".join(map(str, place)), name))
    wrong = {"resize", "protocol", "threshold_source", "image_size", "model.class_path", "format"}
    assert not [one for one in taken if one[0] in wrong or one[1] in ("list", "record", "infinite", "nan")]


@pytest.mark.parametrize("name", ["calibration_scores", "image_threshold", "pixel_threshold", "typical"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e9])
def test_constants_of_a_model_are_finite_and_sorted(saved, name: str, value: float) -> None:
    description, tensors, file = saved
    other = tensors[f"postprocess.{name}"].clone()
    other.view(-1)[0] = value
    metadata = {"anomalib_flows": json.dumps(description)}
    save_file(tensors | {f"postprocess.{name}": other}, file, metadata=metadata)
    refused = refused_or_read(lambda: checkpoint.load_pipeline(file), str(file))
    # A model without an image threshold is one that was not calibrated.
    assert refused or (value == 1e9 and name != "calibration_scores") or (name == "image_threshold" and value != value)


@pytest.mark.parametrize("place", places(CONFIG), ids=lambda place: ".".join(map(str, place)) or "all")
def test_a_configuration_takes_no_wrong_value(tmp_path: Path, place: tuple[Any, ...]) -> None:
    run = Run(tmp_path)
    for name, value in {**BAD, "date": date(2024, 1, 5), "bytes": b"x"}.items():
        run.config_file.write_text(yaml.dump(changed(CONFIG, place, value), allow_unicode=False))
        refused = refused_or_read(run.config, str(run.config_file))
        assert refused or name not in ("infinite", "nan") or place[-1:] == ("weights",)


def test_a_model_card_takes_no_wrong_value() -> None:
    for field in CARD.__dataclass_fields__:
        for name, value in BAD.items():
            model = build(CARD)
            if name in ("nul", "letters"):
                continue  # no text in XML
            model.set_rt_info(str(value), [SECTION, field])
            refused = refused_or_read(lambda model=model: read_card(model, "model.xml"), "model.xml")
            assert refused or name not in ("infinite", "nan") or isinstance(getattr(CARD, field), str), (field, name)


SPLITS = [Sample(Path("/a/1.png"), "train"), Sample(Path("/a/2.png"), "test", 1, "cut", Path("/a/2_mask.png"))]


@pytest.mark.parametrize("column", range(6))
def test_a_record_of_splits_takes_no_wrong_value(tmp_path: Path, column: int) -> None:
    file = tmp_path / "splits.csv"
    write_splits(SPLITS, file)
    header, first, *rest = file.read_text().splitlines()
    names = header.split(",")
    for name, value in {**BAD, "other split": "tset", "other label": 7}.items():
        cells = first.split(",")
        cells[column] = "" if value is None else str(value).replace(",", ";").replace("\ud800", "").replace("\n", "")
        file.write_text("\n".join([header, ",".join(cells), *rest]) + "\n", errors="surrogatepass")
        refused = refused_or_read(lambda: read_splits(file), str(file))
        if names[column] in ("split", "label", "digest") and name not in ("zero", "null", "empty"):
            assert refused or (names[column] == "label" and str(value) in "01"), (names[column], name)


METRICS = {
    "image": {"auroc": 1.0, "f1": None, "f1_max": 1.0, "threshold": 0.5},
    "pixel": {"auroc": None, "f1": None, "f1_max": None, "threshold": 0.5},
}


@pytest.mark.parametrize("place", places(METRICS | {"defects": {"cut": METRICS}}))
def test_metrics_take_no_wrong_value(tmp_path: Path, place: tuple[Any, ...]) -> None:
    run = Run(tmp_path)
    for value in BAD.values():
        run.metrics_file.write_text(json.dumps(changed(METRICS | {"defects": {"cut": METRICS}}, place, value)))
        refused = refused_or_read(run.metrics, str(run.metrics_file))
        finite = isinstance(value, int | float) and value == value and abs(value) != float("inf")
        assert refused or value is None or finite or place == ("defects",) or place == ("defects", "cut")


HOSTILE = {
    "deep list": "[" * 100_000,
    "deep record": "{a: " * 50_000,
    "deep block": "".join(f"{' ' * i}a:\n" for i in range(900)),
    "aliases": "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)),
    "alias of itself": "a: &a [*a]",
    "long integer": "a: " + "9" * 5000,
    "month 13": "a: 2024-13-01",
    "tab": "a:\n\t- b",
    "two documents": "a: 1\n---\nb: 2\n",
    "wrong tag": "a: !!bool maybe",
    "tag of Python": "a: !!python/object/apply:os.system [touch]",
    "empty tag": "a: !!int ''",
    "list as key": "? [a]\n: 1",
    "nothing": "",
    "control": "a: \x07",
}


@pytest.mark.parametrize("content", [text.encode() for text in HOSTILE.values()], ids=HOSTILE)
def test_hostile_configurations_end_soon(tmp_path: Path, content: bytes) -> None:
    run = Run(tmp_path)
    run.config_file.write_bytes(content)
    assert refused_or_read(run.config, str(run.config_file))


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_other_encodings_are_refused(tmp_path: Path, encoding: str) -> None:
    run = Run(tmp_path)
    run.config_file.write_bytes(yaml.dump(CONFIG | {"output": "Maße"}, allow_unicode=True).encode(encoding))
    assert refused_or_read(run.config, str(run.config_file))


@settings(deadline=None, max_examples=300)
@given(st.text(max_size=60) | st.text("[]{}:,&*!|>-?#%@'\"\n\t ab01.", max_size=60))
def test_any_text_is_yaml_and_json_or_a_value_error(text: str) -> None:
    for parse in (parse_yaml, parse_json):
        with suppress(ValueError):
            parse(text)


def damaged(content: bytes, seed: int) -> bytes:
    """Change, remove or insert some bytes."""
    rng, other = random.Random(seed), bytearray(content)  # noqa: S311
    for _ in range(rng.randint(1, 8)):
        place = rng.randrange(len(other))
        kind = rng.randrange(3)
        other[place : place + kind] = rng.randbytes(rng.randint(kind == 0, 2))
    return bytes(other)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
def test_random_damage_is_read_or_refused(tmp_path: Path, seed: int) -> None:
    run = Run(tmp_path)
    run.write_config(TrainConfig.from_dict(CONFIG))
    run.metrics_file.write_text(json.dumps(METRICS | {"defects": {"cut": METRICS}}))
    write_splits(SPLITS, run.splits_file)
    table = tmp_path / "table.json"
    table.write_text(json.dumps([{"path": "1.png", "label": "good"}, {"path": "2.png", "label": 1, "defect": "cut"}]))
    readers: dict[Path, Read] = {
        run.config_file: lambda _: run.config(),
        run.metrics_file: lambda _: run.metrics(),
        run.splits_file: read_splits,
        table: lambda file: samples_of(read_table(file, ["path"]), file, file.parent),
    }
    for file, read in readers.items():
        file.write_bytes(damaged(file.read_bytes(), seed))
        refused_or_read(lambda read=read, file=file: read(file), str(file))
