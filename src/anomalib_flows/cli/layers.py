"""Layers of values: a model's published recipe, a run's configuration, configuration files, and options."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

from anomalib_flows.cli.errors import MOVED
from anomalib_flows.cli.options import KINDS
from anomalib_flows.core import registry
from anomalib_flows.core.errors import InputError
from anomalib_flows.run.component import arguments_of

Values = dict[str, Any]

KEPT: dict[str, tuple[str, ...]] = {"model": ("backbone", "weights", "layers", "timm_args", "mean", "std"), "data": ()}
"""Arguments that another component takes over from a configuration: those of the encoder."""


def normal(values: Values, source: str = "") -> Values:
    """Write components as records with registered names.

    Args:
        values: A configuration.
        source: The file that it is from, if any, whose fields may have moved.

    Raises:
        InputError: If a component is unknown or cannot be imported, or a field has moved.
    """
    found = dict(values)
    for key in KINDS.keys() & values.keys():
        value = values[key]
        if isinstance(value, str):
            value = {"class_path": value}
        if isinstance(value, dict) and "class_path" in value:
            cls = load(key, str(value["class_path"]))
            value = {**value, "class_path": registry.name_of(KINDS[key], cls)}
            if source:
                require_present_names(key, value.get("init_args") or {}, cls, source)
        found[key] = value
    return found


def load(key: str, name: str) -> type[Any]:
    """Import a model or dataset.

    Raises:
        InputError: If it is unknown, cannot be imported, or is another class.
    """
    from anomalib_flows.data.datasets.base import Dataset
    from anomalib_flows.models.options import Model

    cls, base = registry.load(KINDS[key], name), {"model": Model, "data": Dataset}[key]
    if not (isinstance(cls, type) and issubclass(cls, base)):
        raise InputError(f"{name} is not a {'model' if key == 'model' else 'dataset'}.")
    return cls


def require_present_names(key: str, arguments: Values, cls: type[Any], source: str) -> None:
    """Raise an InputError if a configuration has a field that has moved."""
    for name in arguments.keys() - arguments_of(KINDS[key], cls).keys():
        if moved := MOVED.get(f"{key}.{name}"):
            raise InputError(f"{key}.{name} is now {moved}: change it in {source}.")


def merge(layers: Iterable[Values]) -> Values:
    """Return normal layers as one, where later values replace earlier ones, field by field in records.

    Of components the last name counts. The arguments of others are dropped, except for those of a base class and those
    in ``KEPT``.
    """
    layers = list(layers)
    merged: Values = {}
    for layer in layers:
        for key, value in layer.items():
            before = merged.get(key)
            if key in KINDS and isinstance(value, dict):
                merged[key] = merge_component(key, before or {}, value, last_name(key, layers))
            else:
                merged[key] = {**before, **value} if isinstance(value, dict) and isinstance(before, dict) else value
    return merged


def merge_component(key: str, before: Values, value: Values, chosen: str | None) -> Values:
    """Return the arguments of two layers as one component of the chosen class."""
    name, arguments = value.get("class_path"), value.get("init_args") or {}
    if chosen and name and name != chosen:
        cls = load(key, chosen)
        if not issubclass(cls, load(key, name)):
            kept = set(KEPT[key]) & arguments_of(KINDS[key], cls).keys()
            arguments = {argument: given for argument, given in arguments.items() if argument in kept}
    named = {"class_path": chosen} if chosen else {}
    return {**named, "init_args": {**before.get("init_args", {}), **arguments}}


def last_name(key: str, layers: list[Values]) -> str | None:
    """Return the name of a component in the last layer that names one."""
    named = (layer[key].get("class_path") for layer in reversed(layers) if isinstance(layer.get(key), dict))
    return next(filter(None, named), None)


def published(configurations: list[Values], given: Values) -> Values:
    """Return the recipe of the model's paper if the protocol is ``paper``, to lie below all configurations.

    Args:
        configurations: Normal configurations, the most important last.
        given: The options of the command line.
    """
    layers = [*configurations, given]
    name = last_name("model", layers)
    protocol = next((layer["protocol"] for layer in reversed(layers) if "protocol" in layer), None)
    if not name or protocol != "paper":
        return {}
    recipe = load("model", name).published
    if "protocol" in given:  # a configuration that asks for the protocol itself differs on purpose
        warn_of_others(recipe, configurations)
    return {"heatmap": {"top_percent": 0.0}, "model": {"class_path": name, "init_args": recipe}}


def warn_of_others(recipe: Values, configurations: list[Values]) -> None:
    """Warn of values in configurations that differ from the published recipe, and that replace it."""
    given: Values = {}
    for configuration in configurations:
        if isinstance(model := configuration.get("model"), dict):
            given |= model.get("init_args") or {}
    others = {name: given[name] for name in recipe if name in given and given[name] != recipe[name]}
    if others:
        listed = ", ".join(f"{name} {value} ({recipe[name]} is published)" for name, value in others.items())
        warnings.warn(f"`protocol` paper goes by your configuration where it differs: {listed}.", stacklevel=3)
