"""Configuration files: those that come with the package, by short name, those of users, and recipes of papers."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from anomalib_flows.core import registry
from anomalib_flows.core.errors import InputError
from anomalib_flows.core.parsing import parse_yaml
from anomalib_flows.run.configurations import class_of, published_recipe

KINDS: dict[str, registry.Kind] = {"model": "models", "data": "datasets"}
"""Kinds of the components, by the option that names one."""


def published_defaults(words: list[str]) -> list[str]:
    """Return the recipe of a model's paper, which configurations and options override, for ``--protocol paper``.

    Example:
        >>> published_defaults(["--model=fastflow", "--protocol=paper"])[0].startswith('--config={"heatmap"')
        True
        >>> published_defaults(["--model=fastflow"])
        []
    """
    if any(word.startswith("--resume") for word in words):
        return []  # its configuration has the recipe already
    configs, model = configurations(words), chosen_model(words)
    if not model or last("protocol", words, [config.get("protocol") for config in configs]) != "paper":
        return []
    defaults = published_recipe(model)
    if last("protocol", words, []):  # a configuration that asks for the protocol itself differs on purpose
        warn_of_others(defaults["model"]["init_args"], configs)
    return [f"--config={json.dumps(defaults)}"]


def chosen_model(words: list[str]) -> str | None:
    """Return the model that a normalised command line names, itself or in its last configuration that names one."""
    return last("model", words, [class_of(config.get("model")) for config in configurations(words)])


def warn_of_others(recipe: dict[str, Any], configs: list[dict[str, Any]]) -> None:
    """Warn of values in configurations that differ from the published recipe, which they override."""
    given: dict[str, Any] = {}
    for config in configs:
        if isinstance(model := config.get("model"), dict):
            given |= model.get("init_args") or {}
    others = {name: given[name] for name in recipe if name in given and given[name] != recipe[name]}
    if others:
        listed = ", ".join(f"{name} {value} ({recipe[name]} is published)" for name, value in others.items())
        warnings.warn(f"`protocol` paper follows your configuration where it differs: {listed}.", stacklevel=3)


def configurations(words: list[str]) -> list[dict[str, Any]]:
    """Read the configurations that a normalised command line names."""
    return [read(word.partition("=")[2]) for word in words if word.startswith("--config=")]


def named_classes_of(content: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield the dotted field and the value of everything in a configuration that names a class."""
    if isinstance(content, str) and (name in KINDS or name.endswith("class_path")):
        yield name, content
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in items:
        yield from named_classes_of(value, f"{name}.{key}".removeprefix("."))


def require_trusted(words: list[str], *, trust: bool) -> None:
    """Import what the configurations of a normalised command line name, before jsonargparse imports it unasked.

    Raises:
        InputError: If a class is neither registered, nor imported yet, nor trusted.
    """
    for file in (word.partition("=")[2] for word in words if word.startswith("--config=")):
        for field, name in named_classes_of(read(file)):
            kind = KINDS.get(field.removesuffix(".class_path"))
            if kind and "." in name:
                registry.load(kind, name, trust=trust, named_by=file)
            elif not kind and not trust and name.rpartition(".")[0] not in sys.modules:
                raise InputError(f"{file} names the class {name}, whose import runs its code: give `trust` for it.")


def read(file: str) -> dict[str, Any]:
    """Read a configuration; one that is invalid is reported when it is used."""
    try:
        content = parse_yaml(Path(file).read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def last(option: str, words: list[str], configured: list[Any]) -> str | None:
    """Return the value of an option: that of the command line, else of the last configuration that has one."""
    given = [
        word.partition("=")[2] or following
        for word, following in pairwise([*words, ""])
        if word.partition("=")[0] == f"--{option}"
    ]
    return next((value for value in reversed([*configured, *given]) if isinstance(value, str)), None)
