"""The types in the signature of a command's function."""

from __future__ import annotations

import dataclasses
from types import NoneType
from typing import Any, get_args

from anomalib_flows.core.registry import Kind
from anomalib_flows.run.component import Component

KINDS: dict[str, Kind] = {"model": "models", "data": "datasets"}
"""Kinds of the components, by the option that names one."""


def is_record(kind: Any) -> bool:
    """Return whether a type is a record whose fields are options."""
    return isinstance(kind, type) and dataclasses.is_dataclass(kind) and kind is not Component


def without_none(annotation: Any) -> Any:
    """Return ``X`` for ``X | None``, and any other type unchanged."""
    others = [one for one in get_args(annotation) if one is not NoneType]
    return others[0] if len(others) == 1 and NoneType in get_args(annotation) else annotation
