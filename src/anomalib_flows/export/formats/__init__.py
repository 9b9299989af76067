"""Export formats: one module each, found by its name."""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.registry import unknown

if TYPE_CHECKING:
    from anomalib_flows.export.exporter import Exporter


def format_names() -> list[str]:
    """Return the names of all formats, without importing them.

    Example:
        >>> "openvino" in format_names()
        True
    """
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def exporter(name: str) -> Exporter:
    """Return a format by name.

    Raises:
        InputError: If there is no such format. The message lists close names.
    """
    if name not in format_names():
        raise InputError(unknown("format", name, format_names()))
    found: Exporter = importlib.import_module(f"{__name__}.{name}").EXPORTER
    return found
