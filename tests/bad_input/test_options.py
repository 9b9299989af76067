"""Wrong values of every option of every command, found from the options themselves: a new option is covered."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from inspect import signature
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

import pytest
from refusals import refused

from anomalib_flows.cli.app import find_commands
from anomalib_flows.cli.parser import option_types, parameter_types, without_none
from anomalib_flows.cli.texts import members
from anomalib_flows.core import registry
from anomalib_flows.run.component import Component, argument_types
from conftest import TRAIN

pytestmark = pytest.mark.filterwarnings("always")  # the command line prints them

BASE: dict[str, list[str]] = {
    "train": TRAIN,
    "test": ["test", "run"],
    "predict": ["predict", "run", "--input=photos", "--output=new"],
    "report": ["report", "run"],
    "runs": ["runs", "."],
    "latency": ["latency", "run", "--seconds=0.1"],
    "benchmark": ["benchmark", "--datasets=synthetic", "--categories=fabric", "--plan", "--output=new"],
    "benchmark table": ["benchmark", "table", "notes.txt"],
    "calibrate": ["calibrate", "run"],
    "export": ["export", "run"],
    "import-checkpoint": ["import-checkpoint", "notes.txt", "--from=anomalib", "--output=new"],
    "data prepare": ["data", "prepare", "mvtec", "--root=new"],
    "data check": ["data", "check", "--data=mvtec", "--data.root=data", "--data.category=nut"],
    "cache": ["cache", "show", "--what=facts"],
    "list": ["list", "models"],
}
"""A command line of each command that is right, but for an option that is added."""
NUMBER = ["x", "[1, 2]", "{a: 1}", "1,5", "1:30", "50%", "nan", "inf", "-inf", "1e400", "--", "true", "null null"]
WHOLE = ["1.5", "1e3", "-99", "9" * 30, "010"]
UNBOUNDED = {"seed", "threshold", "pixel_threshold", "raw_threshold"}
"""Options whose numbers have no such bounds."""


def values_of(annotation: Any) -> Iterator[str]:
    """Yield texts that are no value of a type; what a union takes by another member is left out."""
    kinds = [one for one in members(annotation) if one is not NoneType]
    origins = [get_origin(one) for one in kinds]
    words = [str(word) for one in kinds if get_origin(one) is Literal for word in get_args(one)]
    if words and int not in kinds:
        yield from ["x", words[0].swapcase(), f"{words[0]},{words[-1]}", f"[{words[0]}]", "1.0.0", "{a: 1}"]
    elif bool in kinds:
        yield from ["maybe", "2", "[true]", "{a: 1}", "1.5", "tru"]
    elif int in kinds and float not in kinds:
        yield from [*NUMBER, *WHOLE] if str not in kinds else ["x y", "{a: 1}", "-99", "1.5", "0", "nan", "9" * 30]
    elif float in kinds:
        yield from [*NUMBER, "-99", "1e300"]
    elif dict in origins or dict in kinds:
        yield from ["x", "[1]", "5", "{pretrained: true}"]
    elif tuple in origins or (any(origin in (list, Sequence) for origin in origins) and str not in kinds):
        numbers = [one for one in kinds if {*get_args(one)} & {int, float}]
        yield from ["x", "[x]", "[nan]", "[[1]]", "{a: 1}", "[-99]", "[1,", "[1.5, y]", "[]"] if numbers else []


def component_types(name: str) -> dict[str, Any]:
    """Return the arguments of the models or datasets that a command line may name, by dotted option."""
    kind: registry.Kind = "models" if name == "model" else "datasets"
    found: dict[str, Any] = {}
    for one in registry.names(kind):
        cls = registry.load(kind, one)
        hints, taken = argument_types(cls), list(registry.parameters(cls))[kind == "models" :]
        found |= {f"{one} {name}.{argument}": hints[argument] for argument in taken if argument in hints}
    return found


def options_of(command: str) -> dict[str, Any]:
    """Return the types of all options of a command; those of components have the component's name before them."""
    found = find_commands()[command]
    first = next(iter(signature(found.function).parameters))
    types = option_types(found)
    flags = {name for name, kind in parameter_types(found).items() if without_none(kind) is bool}
    plain = {
        name: kind for name, kind in types.items() if name not in flags and name != first and kind is not Component
    }
    components = [name for name, kind in types.items() if without_none(kind) is Component]
    return plain | {k: v for name in components if name in ("model", "data") for k, v in component_types(name).items()}


OTHERS = {"folder": ["--data.normal=photos"], "synthetic": []}
"""Arguments that a dataset needs; most need a root and a category."""


def line(command: str, option: str, value: str) -> list[str]:
    """Return the command line with a value of an option; a component's option comes with the component."""
    component, _, name = option.rpartition(" ")
    key = name.partition(".")[0]
    base = BASE[command]
    if component:
        needed = OTHERS.get(component, ["--data.root=data", "--data.category=nut"]) if key == "data" else []
        base = [word for word in base if not word.startswith(f"--{key}")] + [f"--{key}={component}", *needed]
        base = [word for word in base if not word.startswith(f"--{name}=")]
    return [*base, f"--{name}={value}"]


CASES = [
    (command, option, value)
    for command in BASE
    for option, annotation in options_of(command).items()
    for value in ["", *dict.fromkeys(values_of(annotation))]
    if not (option in UNBOUNDED and value in ("-99", "9" * 30, "1e300")) and (option, value) != ("seeds", "0")
]
QUICK = 6
"""One of so many cases runs in the quick tests."""


def marked(case: tuple[str, str, str], number: int) -> Any:
    """Return a case of the quick tests, or of the slow ones."""
    return pytest.param(*case, id="-".join(case)[:80], marks=[pytest.mark.slow] if number % QUICK else [])


def test_every_command_has_a_line() -> None:
    assert {*BASE} == {*find_commands()}


@pytest.mark.parametrize(("command", "option", "value"), [marked(case, n) for n, case in enumerate(CASES)])
def test_a_wrong_value_is_refused(world: Path, capsys, command: str, option: str, value: str) -> None:
    name = option.rpartition(" ")[2]
    refused(capsys, world, line(command, option, value), f"--{name}", re.sub("_", "-", f"--{name}"))
