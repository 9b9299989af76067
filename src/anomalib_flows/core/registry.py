"""Models, datasets and packaged weights by name, through entry points, so that a plug-in needs no change here.

Listing imports nothing, and loading one imports that one alone. Names may come from files of others: a module that no
installed package registers is imported only if the caller trusts the file.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import sys
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

from anomalib_flows.core.errors import InputError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

Kind = Literal["models", "datasets", "weights"]

OWN = "anomalib_flows."
BASES = {"models": "anomalib_flows.models.options.Model", "datasets": "anomalib_flows.data.datasets.base.Dataset"}
"""Base class of each kind, by its path: this module imports neither."""


def names(kind: Kind) -> list[str]:
    """Return all registered names, sorted."""
    return sorted(entries(kind))


def entries(kind: Kind) -> dict[str, EntryPoint]:
    """Return the sound entry points by name; a plug-in cannot replace a built-in one of the same name."""
    found = sorted(filter(is_sound, entry_points(kind)), key=lambda e: e.value.startswith(OWN))
    return {entry.name: entry for entry in found}


def entry_points(kind: Kind) -> list[EntryPoint]:
    """Return all entry points of a kind. A package whose list of them cannot be read has none."""
    from importlib import metadata  # takes as long to import as everything that --help needs

    group = f"anomalib_flows.{kind}"
    try:
        return list(metadata.entry_points(group=group))
    except Exception:  # one malformed line of any installed package
        found: dict[str, list[EntryPoint]] = {}
        for package in metadata.distributions():  # of several of one name the first is the one that is imported
            with suppress(Exception):
                found.setdefault(package.name, list(package.entry_points))
        return [entry for entries in found.values() for entry in entries if entry.group == group]


def is_sound(entry: EntryPoint) -> bool:
    """Return whether an entry point names a module and a class or value in it."""
    match = entry.pattern.match(entry.value)
    return bool(match and match["attr"])


def malformed(kind: Kind) -> dict[str, str]:
    """Return what is wrong with the entry points that are not sound, by name."""
    return {
        entry.name: f"{distribution(entry)} registers {entry.name!r} as {entry.value!r}, which is not MODULE:CLASS: "
        "report it to its authors."
        for entry in entry_points(kind)
        if not is_sound(entry)
    }


def distribution(entry: EntryPoint) -> str:
    """Return the name and version of the package of an entry point."""
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else "an unknown package"


def path_of(kind: Kind, name: str) -> str:
    """Return the dotted path of a registered name or class name, without an import; a dotted path is returned as is."""
    if entry := registered(kind, name):
        return f"{entry.module}.{entry.attr}"
    dotted = "." in name and all(part.isidentifier() for part in name.split("."))
    if dotted and kind != "weights":  # timm's names of networks may have a dot
        return name
    raise InputError(malformed(kind).get(name) or unknown(kind.removesuffix("s"), name, names(kind)))


def registered(kind: Kind, name: str) -> EntryPoint | None:
    """Return the entry point of a registered name, class name or dotted path; None if there is none."""
    known = entries(kind)
    others = (e for e in known.values() if name in (e.attr, f"{e.module}.{e.attr}"))
    return known.get(name) or next(others, None)


def name_of(kind: Kind, loaded: type[Any]) -> str:
    """Return the registered name of a class, or its dotted path if it has none."""
    path = f"{loaded.__module__}.{loaded.__qualname__}"
    return next((e.name for e in entries(kind).values() if f"{e.module}.{e.attr}" == path), path)


def load(kind: Kind, name: str, *, trust: bool = False, named_by: object = "the configuration") -> Any:
    """Import a class or value, given its registered name, its own name or its dotted path.

    Args:
        kind: What it is.
        name: Its name. A path that no installed package registers must lead to a class that this process has imported.
        trust: Whether any other module may be imported as well, which runs its code.
        named_by: File that names it, for messages.

    Raises:
        InputError: If it is unknown, not trusted, or cannot be imported.
    """
    path = path_of(kind, name)
    owner = registered(kind, path)
    if not (owner or trust or path.startswith(OWN) or is_kind(kind, imported(path))):
        raise InputError(
            f"No installed package registers the {kind.removesuffix('s')} {path} that {named_by} names: importing it "
            "runs its code; give `trust` if you trust whoever made it."
        )
    source = f"{path} of {distribution(owner)}" if owner else path
    module, _, attribute = path.rpartition(".")
    if not path.startswith(OWN):
        _plug_ins[module.partition(".")[0]] = source
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (Exception, SystemExit) as error:
        raise InputError(f"{source} cannot be imported ({cause_of(error)}).") from error
    if not is_kind(kind, found):
        raise InputError(f"{source} is not a {kind.removesuffix('s')}: it must be a subclass of {BASES[kind]}.")
    return found


_plug_ins: dict[str, str] = {}
"""Class and distribution of what was loaded from other packages, by the name of its outermost package."""


def blame(error: BaseException) -> str | None:
    """Return a sentence about an error that code of a plug-in raised, or None if none was running."""
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        if source := _plug_ins.get(frame.f_globals.get("__name__", "").partition(".")[0]):
            place = f"{frame.f_code.co_filename}:{line}"
            return f"{source} failed at {place} ({cause_of(error)}): report it to its authors."
    return None


def cause_of(error: BaseException) -> str:
    """Return the type and the message of an error in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def imported(path: str) -> Any:
    """Return what a dotted path leads to in the modules that this process has imported, or None; no code runs.

    A module's variables are looked up directly, since ``getattr`` may call a function of the module.
    """
    module, _, attribute = path.rpartition(".")
    return getattr(sys.modules.get(module), "__dict__", {}).get(attribute)


def is_kind(kind: Kind, found: Any) -> bool:
    """Return whether something is a class of a kind; packaged weights are checked where they are used."""
    bases = inspect.getmro(found) if isinstance(found, type) else ()
    return kind == "weights" or BASES[kind] in {f"{base.__module__}.{base.__qualname__}" for base in bases}


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
