"""A model or a dataset by name and arguments."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

from anomalib_flows.core import registry
from anomalib_flows.core.errors import InputError
from anomalib_flows.run.values import convert

LEADING = {"models": 1, "datasets": 0}
"""Number of arguments that a constructor takes before those of a configuration: a model takes the image size."""


@dataclass(frozen=True)
class Component:
    """Name a registered class and the arguments to construct it with.

    Args:
        class_path: Registered name, such as ``fastflow``, or dotted path of a class.
        init_args: Arguments of its constructor, in plain types.

    Example:
        >>> Component("synthetic", {"category": "board"}).build("datasets").subset
        'board'
    """

    class_path: str
    init_args: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Convert the arguments to plain types."""
        object.__setattr__(self, "init_args", plain(self.init_args))

    def build(self, kind: registry.Kind, *arguments: Any) -> Any:
        """Construct the object.

        Args:
            kind: ``models`` or ``datasets``.
            arguments: Positional arguments that precede ``init_args``, such as a model's image size.

        Raises:
            InputError: If the class is unknown or cannot be imported, or an argument is unknown, missing or invalid.
        """
        cls = registry.load(kind, self.class_path)
        return cls(*arguments, **self._arguments(kind, cls))

    def checked(self, kind: registry.Kind) -> Component:
        """Return the component with its registered name, and with arguments of the declared types.

        Raises:
            InputError: As :meth:`build` does, except for what the constructor itself checks.
        """
        cls = registry.load(kind, self.class_path)
        return Component(registry.name_of(kind, cls), self._arguments(kind, cls))

    def complete(self, kind: registry.Kind) -> Component:
        """Return the component with the defaults of all arguments that are not given."""
        return dataclasses.replace(
            self, init_args={**defaults(kind, registry.load(kind, self.class_path)), **self.init_args}
        )

    def _arguments(self, kind: registry.Kind, cls: type[Any]) -> dict[str, Any]:
        known, types = arguments_of(kind, cls), types_of(cls)
        for name in self.init_args:
            if name not in known:
                close = difflib.get_close_matches(name, known, n=1)
                hint = f": did you mean `{close[0]}`?" if close else ": leave it out."
                raise InputError(f"{self.class_path} has no argument `{name}`{hint}")
        missing = [n for n, p in known.items() if p.default is inspect.Parameter.empty and n not in self.init_args]
        if missing:
            raise InputError(f"{' and '.join(f'`{name}`' for name in missing)} must be given.")
        return {name: convert(name, value, types.get(name, Any)) for name, value in self.init_args.items()}


def arguments_of(kind: registry.Kind, cls: type[Any]) -> dict[str, inspect.Parameter]:
    """Return the arguments of a constructor that a configuration can give."""
    return dict(list(registry.parameters(cls).items())[LEADING[kind] :])


def types_of(cls: type[Any]) -> dict[str, Any]:
    """Return the declared types of a constructor's arguments, those of base classes included."""
    if dataclasses.is_dataclass(cls):
        return get_type_hints(cls)
    found: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        if inspect.isfunction(constructor := vars(base).get("__init__")):
            with suppress(NameError):  # names that are imported for type checkers alone
                found |= get_type_hints(constructor)
    return found


def defaults(kind: registry.Kind, cls: type[Any]) -> dict[str, Any]:
    """Return the defaults of the arguments that have one."""
    made = {f.name: f.default_factory for f in dataclasses.fields(cls)} if dataclasses.is_dataclass(cls) else {}
    found = {}
    for name, parameter in arguments_of(kind, cls).items():
        if callable(factory := made.get(name)):
            found[name] = factory()
        elif parameter.default is not inspect.Parameter.empty:
            found[name] = parameter.default
    return found


def plain(value: Any) -> Any:
    """Convert tuples to lists, and paths to text."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
