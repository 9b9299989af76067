"""Records from plain types, checked, and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.registry import unknown


def plain(value: Any) -> Any:
    """Convert tuples to lists, and paths to text."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def validated(cls: type[Any], values: Mapping[str, Any]) -> Any:
    """Construct a record and the records in it from plain types.

    Raises:
        InputError: If a key is unknown or missing, or a value is invalid.
    """
    from pydantic import TypeAdapter, ValidationError  # slow to import

    check_keys(cls, values, "")
    try:
        return TypeAdapter(cls).validate_python(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        if isinstance(cause := first.get("ctx", {}).get("error"), InputError):
            raise cause from None
        name = ".".join(str(part) for part in first["loc"])
        if first["type"] == "missing":
            raise InputError(f"`{name}` must be given.") from None
        raise InputError(f"`{name}` cannot be {first['input']!r}: it must be {expected(first['msg'])}.") from None


def expected(message: str) -> str:
    """Return what is valid, from pydantic's message.

    Example:
        >>> expected("Input should be a valid integer, unable to parse string as an integer")
        'a valid integer'
    """
    for beginning in ("Input should be ", "Input is not "):
        message = message.removeprefix(beginning)
    return message.partition(",")[0].partition(" for <")[0].partition(" or an instance")[0]


def check_keys(cls: type[Any], values: Mapping[str, Any], prefix: str) -> None:
    """Raise an InputError if a key is no field of a record, or of a record in it."""
    fields = {f.name: f for f in dataclasses.fields(cls)}
    for key, value in values.items():
        if key not in fields:
            raise InputError(unknown("field", f"{prefix}{key}", [f"{prefix}{name}" for name in fields]))
        inner: Any = fields[key].default_factory
        if isinstance(inner, type) and dataclasses.is_dataclass(inner) and isinstance(value, Mapping):
            check_keys(inner, value, f"{prefix}{key}.")
