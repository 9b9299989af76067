"""The parameters of a command's function: which are records, components, or plain values."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator
from types import NoneType
from typing import Any, NamedTuple, get_args, get_type_hints

from anomalib_flows.commands.command import Command
from anomalib_flows.core.registry import Kind
from anomalib_flows.run.component import Component

KINDS: dict[str, Kind] = {"model": "models", "data": "datasets"}
"""Kinds of the components, by the option that names one."""
FLATTENED = ("config", "options")
"""Parameters whose fields are options without a prefix."""


class Parameter(NamedTuple):
    """A parameter of a function, or a field of a flattened record.

    Args:
        name: Its name.
        type: Its type, without None.
        default: Its default; ``inspect.Parameter.empty`` if it has none.
        owner: The function or the record that it belongs to.
    """

    name: str
    type: Any
    default: Any
    owner: Any

    @property
    def record(self) -> bool:
        """Whether the type is a record whose fields are options with the parameter's name as prefix."""
        return is_record(self.type)


def parameters_of(command: Command) -> Iterator[Parameter]:
    """Yield the parameters of a command's function, with the fields of flattened records in their place."""
    types = get_type_hints(command.function)
    for name, parameter in inspect.signature(command.function).parameters.items():
        kind = without_none(types[name])
        if name in FLATTENED and is_record(kind):
            yield from fields_of(kind)
        else:
            yield Parameter(name, kind, parameter.default, command.function)


def fields_of(record: type[Any]) -> Iterator[Parameter]:
    """Yield the fields of a record."""
    types = get_type_hints(record)
    for field in dataclasses.fields(record):
        default = inspect.Parameter.empty if field.default is dataclasses.MISSING else field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        yield Parameter(field.name, without_none(types[field.name]), default, record)


def is_record(kind: Any) -> bool:
    """Return whether a type is a record of options."""
    return isinstance(kind, type) and dataclasses.is_dataclass(kind) and kind is not Component


def without_none(annotation: Any) -> Any:
    """Return ``X`` for ``X | None``, and any other type unchanged."""
    others = [one for one in get_args(annotation) if one is not NoneType]
    return others[0] if len(others) == 1 and NoneType in get_args(annotation) else annotation
