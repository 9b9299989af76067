"""A model or a dataset by name and arguments."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

from anomalib_flows.core import registry
from anomalib_flows.core.errors import InputError


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
        self._check_arguments(cls, len(arguments))
        return cls(*arguments, **with_paths(cls, self.init_args))

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


def plain(value: Any) -> Any:
    """Convert tuples to lists, and paths to text."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def with_paths(cls: type[Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Convert text to paths where a dataclass has a field for paths; the inverse of :func:`plain`."""
    types = get_type_hints(cls) if is_dataclass(cls) else {}
    return {name: as_path(value) if takes_paths(types.get(name)) else value for name, value in arguments.items()}


def takes_paths(annotation: Any) -> bool:
    """Return whether a type is a path, or a union or a list with paths.

    Example:
        >>> takes_paths(Path | list[Path]), takes_paths(str | None)
        (True, False)
    """
    return annotation is Path or any(takes_paths(inner) for inner in get_args(annotation))


def as_path(value: Any) -> Any:
    """Convert text, or each text in a list, to a path."""
    if isinstance(value, list):
        return [as_path(item) for item in value]
    return Path(value) if isinstance(value, str) else value
