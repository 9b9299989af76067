"""Conversion of plain values, such as text from a command line, to declared types."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from anomalib_flows.core.errors import InputError

WORDS = {NoneType: "null", bool: "true or false", str: "text", Path: "path"}


def convert(name: str, value: Any, annotation: Any) -> Any:
    """Return a value as its declared type; text is read as YAML where the type accepts that, else as it is.

    Args:
        name: Name of the argument or field, for errors.
        value: The value in plain types.
        annotation: The type.

    Raises:
        InputError: If the value does not have that type.

    Example:
        >>> convert("layers", "[1, 2]", list[int]), convert("category", "01", str)
        ([1, 2], '01')
    """
    from pydantic import PydanticSchemaGenerationError, TypeAdapter, ValidationError  # slow to import

    try:
        adapter = TypeAdapter(annotation)
    except PydanticSchemaGenerationError:  # a class of a plug-in, which checks its own values
        return value
    for reading in readings(value):
        try:
            return adapter.validate_python(reading)
        except ValidationError:
            continue
    raise InputError(f"`{name}` cannot be {value}: it takes {describe(annotation)}.")


def readings(value: Any) -> Iterator[Any]:
    """Yield what a value may mean: text is YAML, or itself."""
    if isinstance(value, str):
        import yaml  # not needed for --help

        with suppress(yaml.YAMLError, ValueError):
            yield yaml.safe_load(value)
    yield value


def describe(annotation: Any) -> str:
    """Return the name of a type in plain words.

    Example:
        >>> describe(Literal["stop", "skip"] | None), describe(list[int])
        ("one of 'stop', 'skip' or null", 'list[int]')
    """
    if get_origin(annotation) is Literal:
        return f"one of {', '.join(map(repr, get_args(annotation)))}"
    if get_origin(annotation) in (Union, UnionType):
        return " or ".join(map(describe, get_args(annotation)))
    if get_origin(annotation) is None and isinstance(annotation, type):
        return WORDS.get(annotation, annotation.__name__)
    return re.sub(r"(\w+\.)+", "", str(annotation))
