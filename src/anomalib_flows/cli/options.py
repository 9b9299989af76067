"""Options of a command, read from the signature and the docstring of its function."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

from anomalib_flows.core.registry import Kind
from anomalib_flows.run.component import Component, arguments_of, defaults, types_of

KINDS: dict[str, Kind] = {"model": "models", "data": "datasets"}
"""Kinds of the components, by the option that names one."""
FLATTENED = ("config", "options")
"""Parameters whose fields are options without a prefix."""
REQUIRED = inspect.Parameter.empty
"""Default of options that must be given."""


@dataclass(frozen=True)
class Option:
    """An option of a command.

    Args:
        name: Its name, which has a dot for the fields of records and the arguments of components.
        type: Declared type of its value.
        default: Its default, or ``REQUIRED``.
        help: What it means.
        group: What the record is that it belongs to; empty for others.
        positional: Whether it is given without its name.
    """

    name: str
    type: Any
    default: Any
    help: str
    group: str = ""
    positional: bool = False

    @property
    def switch(self) -> bool:
        """Whether it takes no value."""
        return self.type is bool and "." not in self.name

    @property
    def several(self) -> bool:
        """Whether it takes several values, as shells write them."""
        return any(get_origin(one) is list for one in (self.type, *get_args(self.type))) and "." not in self.name

    @property
    def component(self) -> bool:
        """Whether it names a model or a dataset."""
        return without_none(self.type) is Component


def options_of(function: Callable[..., Any]) -> list[Option]:
    """Return the options that the parameters of a function define."""
    types, described = get_type_hints(function), describe_arguments(function)
    found: list[Option] = []
    for position, (parameter, default) in enumerate(parameters(function).items()):
        name = option_name(parameter)
        if record := record_in(types[parameter]):
            prefix = "" if parameter in FLATTENED else f"{name}."
            found += fields_of(record, prefix, described.get(parameter, "").rstrip(".") if prefix else "")
        else:
            option = Option(name, types[parameter], default, described.get(parameter, ""))
            found.append(dataclasses.replace(option, positional=position == 0 and not option.component))
    return found


def fields_of(record: type[Any], prefix: str, group: str) -> list[Option]:
    """Return the options that the fields of a record define."""
    types, described = get_type_hints(record), describe_arguments(record)
    found: list[Option] = []
    for field in dataclasses.fields(record):
        name, text = f"{prefix}{field.name}", described.get(field.name, "")
        if inner := record_in(types[field.name]):
            found += fields_of(inner, f"{name}.", text.rstrip("."))
        else:
            found.append(Option(name, types[field.name], default_of(field), text, group))
    return found


def default_of(field: dataclasses.Field[Any]) -> Any:
    """Return the default of a field, or ``REQUIRED``."""
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return REQUIRED if field.default is dataclasses.MISSING else field.default


def component_options(key: str, cls: type[Any]) -> list[Option]:
    """Return the options that the constructor of a model or dataset defines."""
    types, described, known = types_of(cls), describe_arguments(cls), defaults(KINDS[key], cls)
    return [
        Option(f"{key}.{name}", types.get(name, Any), known.get(name, REQUIRED), described.get(name, ""))
        for name in arguments_of(KINDS[key], cls)
    ]


def parameters(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the parameters of a function with their defaults."""
    return {name: parameter.default for name, parameter in inspect.signature(function).parameters.items()}


def option_name(parameter: str) -> str:
    """Return the option of a parameter, which ends in ``_`` if it would be a keyword of Python."""
    return parameter.removesuffix("_")


def record_in(annotation: Any) -> type[Any] | None:
    """Return the record that a parameter or field holds; None if it holds another value."""
    inner = without_none(annotation)
    return inner if isinstance(inner, type) and dataclasses.is_dataclass(inner) and inner is not Component else None


def without_none(annotation: Any) -> Any:
    """Return ``X`` for ``X | None``, and any other type as it is."""
    others = [one for one in get_args(annotation) if one is not NoneType]
    return others[0] if len(others) == 1 and NoneType in get_args(annotation) else annotation


def describe_arguments(documented: Any) -> dict[str, str]:
    """Return the arguments that a docstring describes in its section ``Args``, those of base classes included."""
    found: dict[str, str] = {}
    for one in reversed(documented.__mro__) if isinstance(documented, type) else [documented]:
        section = re.search(r"^Args:\n((?:    .*\n?|\n)*)", inspect.cleandoc(one.__doc__ or ""), re.MULTILINE)
        for name, text in re.findall(r"^    (\w+): (.*(?:\n {5,}.*)*)", section[1] if section else "", re.MULTILINE):
            found[name] = " ".join(text.replace("`", "").split())
    return found
