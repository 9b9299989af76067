"""Models, datasets and packaged weights by name, through entry points, so that a plug-in needs no change here.

Listing imports nothing, and loading one imports that one alone.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
from typing import TYPE_CHECKING, Any, Literal

from anomalib_flows.core.errors import InputError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

Kind = Literal["models", "datasets", "weights"]


def names(kind: Kind) -> list[str]:
    """Return all registered names, sorted."""
    return sorted(entries(kind))


def entries(kind: Kind) -> dict[str, EntryPoint]:
    """Return the entry points by name; a plug-in cannot replace a built-in one of the same name."""
    from importlib.metadata import entry_points  # takes as long to import as everything that --help needs

    found = sorted(entry_points(group=f"anomalib_flows.{kind}"), key=lambda e: e.value.startswith("anomalib_flows."))
    return {entry.name: entry for entry in found}


def distribution(entry: EntryPoint) -> str:
    """Return the name and version of the package of an entry point."""
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else "an unknown package"


def path_of(kind: Kind, name: str) -> str:
    """Return the dotted path of a registered name or class name, without an import; a dotted path is returned as is."""
    if "." in name and kind != "weights":  # timm's names of networks may have a dot
        return name
    for entry in entries(kind).values():
        if name in (entry.name, entry.attr):
            return f"{entry.module}.{entry.attr}"
    raise InputError(unknown(kind.removesuffix("s"), name, names(kind)))


def name_of(kind: Kind, loaded: type[Any]) -> str:
    """Return the registered name of a class, or its dotted path if it has none."""
    path = f"{loaded.__module__}.{loaded.__qualname__}"
    return next((e.name for e in entries(kind).values() if f"{e.module}.{e.attr}" == path), path)


def load(kind: Kind, name: str) -> Any:
    """Import a class or value, given its registered name, its own name or its dotted path."""
    path = path_of(kind, name)
    module, _, attribute = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), attribute)
    except Exception as error:
        owner = next((e for e in entries(kind).values() if f"{e.module}.{e.attr}" == path), None)
        source = f" of {distribution(owner)}" if owner else ""
        raise InputError(f"{path}{source} cannot be imported ({type(error).__name__}: {error}).") from error


def parameters(cls: type[Any]) -> dict[str, inspect.Parameter]:
    """Return the parameters of a constructor; where it passes ``**options`` on, those of the base class as well."""
    found: dict[str, inspect.Parameter] = {}
    for base in cls.__mro__:
        if "__init__" not in vars(base):
            continue
        own = list(inspect.signature(vars(base)["__init__"]).parameters.values())[1:]
        found = {p.name: p for p in own if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)} | found
        if not any(p.kind is p.VAR_KEYWORD for p in own):
            break
    return found


def unknown(kind: str, name: str, known: list[str]) -> str:
    """Return the error message for an unknown name, with similar ones."""
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    if close:
        return f"There is no {kind} '{name}': did you mean {' or '.join(map(repr, close))}?"
    few = ", ".join(known[:20]) + (", ..." if len(known) > 20 else "")
    return f"There is no {kind} '{name}': there are {few or 'none'}."
