"""Configuration files that come with the package, by short name, those of users, and recipes of papers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from anomalib_flows.core import registry
from anomalib_flows.core.errors import InputError
from anomalib_flows.core.parsing import parse_yaml, read_text
from anomalib_flows.core.registry import unknown

PACKAGE = Path(__file__).resolve().parents[1]
ENCODER = {"backbone", "weights", "layers", "timm_args", "mean", "std"}
"""Arguments of a model that are those of its encoder."""
GRIDS = "grids/"
"""Start of the names of grids of runs, which are no configurations of one."""


def config_folder() -> Path:
    """Return the folder of the configurations: in the package, or at the top of a working copy."""
    installed = PACKAGE / "configs"
    return installed if installed.is_dir() else PACKAGE.parents[1] / "configs"


def config_names(*, grids: bool = False) -> list[str]:
    """Return the short names of all configurations of a run, such as ``fastflow/resnet18``, or of all grids."""
    folder = config_folder()
    names = (file.relative_to(folder).with_suffix("").as_posix() for file in folder.rglob("*.yaml"))
    return sorted(name for name in names if name.startswith(GRIDS) == grids)


def find_config(name: str) -> Path:
    """Return the file of a configuration given by path or short name."""
    for file in (Path(name), config_folder() / f"{name}.yaml"):
        if file.is_file():
            load(file)
            return file
    if Path(name, "config.yaml").is_file():
        raise InputError(f"The configuration {name} is a folder: name {Path(name, 'config.yaml')}.")
    if Path(name).suffix in (".yaml", ".yml"):
        raise InputError(f"The configuration {name} does not exist: check the path.")
    raise InputError(unknown("configuration", name, config_names(grids=name.startswith(GRIDS))))


def load(file: Path) -> Any:
    """Read a configuration; raise an InputError if it is no YAML, or of a size or depth that no configuration has."""
    text = read_text(file, "The configuration")
    try:
        content = parse_yaml(text)
    except ValueError as error:
        raise InputError(f"The configuration {file} is not YAML ({error}): correct it.") from error
    if not isinstance(content, dict):
        raise InputError(f"{file} is no configuration, which has names and values, such as seed: 3: name another file.")
    return content


def class_of(component: Any) -> Any:
    """Return the name of the class in the value of ``model`` or ``data``."""
    return component.get("class_path") if isinstance(component, dict) else component


def published_recipe(model: str) -> dict[str, Any]:
    """Return the configuration of the recipe in a model's paper."""
    return {
        "heatmap": {"top_percent": 0.0},
        "loader": {"batch_size": 32},
        "trainer": {"max_epochs": 20, "precision": "32"},
        "model": {"class_path": model, "init_args": registry.load("models", model).published},
    }


def nested(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options by dotted names as a configuration.

    Example:
        >>> nested({"trainer.max_steps": 5, "model.steps": 4})
        {'trainer': {'max_steps': 5}, 'model': {'init_args': {'steps': 4}}}
    """
    found: dict[str, Any] = {}
    for name, value in options.items():
        *parents, last = str(name).split(".")
        if parents[:1] in (["model"], ["data"]):
            parents.insert(1, "init_args")
        place = found
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return found


def merged(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Return two configurations as one; values of the second override those of the first."""
    both = {**first, **second}
    for key in first.keys() & second.keys():
        if isinstance(first[key], Mapping) and isinstance(second[key], Mapping):
            both[key] = merged(first[key], second[key])
    return both
