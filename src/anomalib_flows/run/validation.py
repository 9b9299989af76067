"""Records from plain types, checked, and back."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import shorten
from typing import Any, get_args, get_type_hints

from anomalib_flows.core.errors import FieldError, InputError
from anomalib_flows.core.parsing import non_finite
from anomalib_flows.core.registry import unknown


def plain(value: Any) -> Any:
    """Convert tuples to lists, and paths to text."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def validated(cls: type[Any], values: Mapping[str, Any]) -> Any:
    """Construct a record and the records in it from plain types; raise an InputError if a key or value is invalid."""
    from pydantic import TypeAdapter, ValidationError  # slow to import

    check_keys(cls, values, "")
    if found := non_finite(plain(values)):
        raise FieldError(found[0].replace("init_args.", ""), found[1], "a finite number")
    try:
        return TypeAdapter(cls).validate_python(dict(values))
    except ValidationError as error:
        raise explained(error.errors()[0], values) from None
    except UnicodeEncodeError as error:
        raise InputError(f"The text {error.object!r} has letters that are no Unicode: write others.") from None


def require_types(types: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """Raise an InputError if the value of a constructor's argument is not of its type, or not a finite number."""
    from pydantic import PydanticSchemaGenerationError, TypeAdapter, ValidationError  # slow to import

    if found := non_finite(plain(values)):
        raise FieldError(*found, "a finite number")
    for name in types.keys() & values.keys():
        try:
            TypeAdapter(types[name]).validate_python(values[name])
        except ValidationError as error:
            raise InputError(f"`{name}` cannot be {shown(values[name])}: it must be {wanted(error)}.") from None
        except UnicodeEncodeError:
            raise InputError(f"`{name}` cannot be {shown(values[name])}, whose letters are no Unicode.") from None
        except PydanticSchemaGenerationError:
            continue  # a type of a plug-in that cannot be checked


def wanted(error: Any) -> str:
    """Return what is valid from pydantic's errors, one for each type of a union."""
    return " or ".join(dict.fromkeys(expected(one["msg"]) for one in error.errors()))


def explained(first: Mapping[str, Any], values: Mapping[str, Any]) -> InputError:
    """Return the error of a record from the first one that pydantic found in its values."""
    if first["type"] == "missing":
        return InputError(f"`{'.'.join(map(str, first['loc']))}` must be given.")
    name = field_name(first["loc"], values)
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, FieldError) and name and "." not in cause.field:
        return FieldError(f"{name}.{cause.field}", cause.value, cause.expected)
    if isinstance(cause, InputError):
        return cause
    return InputError(f"`{name}` cannot be {shown(first['input'])}: it must be {expected(first['msg'])}.")


def shown(value: Any) -> str:
    """Write a value as JSON and YAML have it, and cut off the end of a long one.

    Example:
        >>> shown(None), shown([True, "a"])
        ('null', '[true, "a"]')
    """
    return shorten(json.dumps(value, default=str), 80)


def field_name(location: Sequence[str | int], values: Any) -> str:
    """Return the dotted name of the field at a location, without the types of a union that pydantic appends."""
    parts = []
    for part in location:
        if not isinstance(values, Mapping) or part not in values:
            break
        parts.append(str(part))
        values = values[part]
    return ".".join(parts)


def expected(message: str) -> str:
    """Return what is valid, such as 'a valid integer', from pydantic's message."""
    for beginning in ("Input should be ", "Input is not "):
        message = message.removeprefix(beginning)
    message = re.sub(r"(, unable|, got| for <| or an instance).*", "", message)
    return message.replace("dictionary", "record of names and values").replace("valid string", "text")


def check_keys(cls: type[Any], values: Mapping[str, Any], prefix: str) -> None:
    """Raise an InputError if a key is no field of a record, or of a record in it."""
    hints = get_type_hints(cls)
    fields = {f.name: hints[f.name] for f in dataclasses.fields(cls)}
    for key, value in values.items():
        if key not in fields:
            raise InputError(unknown("field", f"{prefix}{key}", [f"{prefix}{name}" for name in fields]))
        if isinstance(value, Mapping) and (inner := record_in(fields[key])):
            check_keys(inner, value, f"{prefix}{key}.")


def record_in(annotation: Any) -> type[Any] | None:
    """Return the dataclass that a type is or, in a union, contains."""
    found = (t for t in (annotation, *get_args(annotation)) if isinstance(t, type) and dataclasses.is_dataclass(t))
    return next(found, None)
