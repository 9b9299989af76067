"""Sizes in received files are refused within seconds and little memory, however large they are."""

from __future__ import annotations

import json
import resource
from pathlib import Path

import pytest
import yaml
from refusals import MEMORY, time_limit
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from anomalib_flows import InputError
from anomalib_flows.core.limits import LARGEST, require_at_most
from anomalib_flows.models.checkpoint import load_pipeline
from anomalib_flows.run.directory import Run

SIZES = [
    ("steps", 10**9),
    ("steps", 256),
    ("hidden_ratio", 1e12),
    ("kernel_sizes", [10**6 + 1]),
    ("kernel_sizes", [31]),
    ("layers", [0] * 5000),
    ("clamp", 1e300),
    ("timm_args", {"depth": 10**7}),
]
LARGE = {"steps": 256, "hidden_ratio": 16.0, "kernel_sizes": [31]}


@pytest.mark.parametrize(("name", "value"), SIZES, ids=lambda value: str(value)[:20])
def test_sizes_in_a_model_are_refused(own: Path, name: str, value: object) -> None:
    file = own / "run/model.safetensors"
    with safe_open(file, "pt") as opened:
        described = json.loads(opened.metadata()["anomalib_flows"])
    arguments = described["model"]["init_args"]
    arguments |= (LARGE if name in LARGE and value in (256, [31]) else {}) | {name: value}
    if name == "timm_args":
        arguments["backbone"] = "test_vit"
        arguments["layers"] = None
    save_file(load_file(file), file, metadata={"anomalib_flows": json.dumps(described)})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with time_limit(), pytest.raises(InputError, match="model.safetensors"):
        load_pipeline(file)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < MEMORY


@pytest.mark.parametrize("side", [4097, 10**5, 10**30])
def test_image_sizes_in_a_model_are_refused(own: Path, side: int) -> None:
    file = own / "run/model.safetensors"
    with safe_open(file, "pt") as opened:
        described = json.loads(opened.metadata()["anomalib_flows"])
    described["image_size"] = [side, 32]
    save_file(load_file(file), file, metadata={"anomalib_flows": json.dumps(described)})
    with time_limit(), pytest.raises(InputError, match="model.safetensors"):
        load_pipeline(file)


@pytest.mark.parametrize("name", [name for name in LARGEST if name.startswith(("image.", "loader.", "trainer."))])
def test_sizes_in_a_configuration_are_refused(own: Path, name: str) -> None:
    run = Run(own / "run")
    values = yaml.safe_load(run.config_file.read_text())
    record, _, field = name.partition(".")
    values[record][field] = int(LARGEST[name]) + 1
    values["trainer"] |= {} if field != "max_steps" else {"max_epochs": None}
    run.config_file.write_text(yaml.safe_dump(values))
    with pytest.raises(InputError, match=str(run.config_file)):
        run.config()


@pytest.mark.parametrize("name", LARGEST)
def test_the_largest_size_is_taken(name: str) -> None:
    require_at_most(name, LARGEST[name])
    for more in (LARGEST[name] * 1.01 + 1, float("inf"), float("nan")):
        with pytest.raises(InputError, match=name):
            require_at_most(name, more)
