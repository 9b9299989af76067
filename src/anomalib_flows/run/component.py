"""A model or a dataset by name and arguments."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, get_type_hints

from anomalib_flows.core import registry
from anomalib_flows.core.errors import InputError, first_line
from anomalib_flows.run.validation import plain, require_types, validated


def argument_types(cls: type[Any]) -> dict[str, Any]:
    """Return the types of a constructor's arguments, as far as they can be told."""
    if dataclasses.is_dataclass(cls):
        return get_type_hints(cls)
    types: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        if "__init__" in vars(base):
            with suppress(NameError):  # imported for type checkers alone
                types |= get_type_hints(vars(base)["__init__"])
    return types


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
        object.__setattr__(self, "init_args", plain(self.init_args))

    def check(self, kind: registry.Kind, positional: int, *, trust: bool = False) -> None:
        """Raise an InputError if the class or an argument is unknown, or one is missing or of the wrong type."""
        cls: type[Any] = registry.load(kind, self.class_path, trust=trust)
        self._check_arguments(cls, positional)
        if not dataclasses.is_dataclass(cls):
            require_types(argument_types(cls), self.init_args)

    def completed(self, kind: registry.Kind) -> Component:
        """Return what an earlier version has recorded, with values for the options that did not exist then."""
        cls: type[Any] = registry.load(kind, self.class_path)
        known = registry.parameters(cls)
        stated = [vars(base).get("earlier", {}) for base in reversed(cls.__mro__)]
        earlier = {name: value for values in stated for name, value in values.items() if name in known}
        return dataclasses.replace(self, init_args={**earlier, **self.init_args})

    def with_defaults(self, kind: registry.Kind) -> Component:
        """Return it with the present defaults of all options that it does not name."""
        known = registry.parameters(registry.load(kind, self.class_path)).items()
        defaults = {name: option.default for name, option in known if option.default is not option.empty}
        return dataclasses.replace(self, init_args={**defaults, **self.init_args})

    def build(self, kind: registry.Kind, *arguments: Any, trust: bool = False) -> Any:
        """Construct the object.

        Args:
            kind: ``models`` or ``datasets``.
            arguments: Positional arguments that precede ``init_args``, such as a model's image size.
            trust: Whether a class that no installed package registers may be imported.

        Raises:
            InputError: If the class is unknown, not trusted or cannot be imported, or an argument is unknown, missing
                or invalid.
        """
        self.check(kind, len(arguments), trust=trust)
        cls: type[Any] = registry.load(kind, self.class_path, trust=trust)
        try:
            if dataclasses.is_dataclass(cls):
                return validated(cls, self.init_args)
            return cls(*arguments, **self.init_args)
        except TypeError as error:
            raise InputError(f"{self.class_path} has an argument of the wrong type: {first_line(error)}.") from error

    def _check_arguments(self, cls: type[Any], given: int) -> None:
        known = dict(list(registry.parameters(cls).items())[given:])
        for name in self.init_args:
            if name not in known:
                close = difflib.get_close_matches(name, known, n=1)
                hint = f": did you mean `{close[0]}`?" if close else ": leave it out."
                raise InputError(f"{self.class_path} has no argument `{name}`{hint}")
        missing = [n for n, p in known.items() if p.default is inspect.Parameter.empty and n not in self.init_args]
        if missing:
            raise InputError(f"{' and '.join(f'`{name}`' for name in missing)} must be given.")
