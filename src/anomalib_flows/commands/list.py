"""``anomalib-flows list``: the models, datasets and backbones that there are."""

from __future__ import annotations

import warnings
from collections.abc import Collection
from typing import Literal

from anomalib_flows.commands.command import Command
from anomalib_flows.core.errors import InputError


def list_names(kind: Literal["models", "datasets", "backbones"], filter: str = "") -> None:
    """List models, datasets or backbones.

    Args:
        kind: What to list.
        filter: Part of the names to list.
    """
    if kind == "backbones":
        from anomalib_flows.encoders.weights import backbone_names

        names = [name for name in backbone_names() if filter in name]
        require_some(names, kind, filter)
        print("\n".join(names))
        return
    from anomalib_flows.core import registry

    entries = {name: entry for name, entry in sorted(registry.entries(kind).items()) if filter in name}
    require_some(entries, kind, filter)
    for name, entry in entries.items():
        print(f"{name:20} {entry.module}.{entry.attr} ({registry.distribution(entry)})")
    for name, fault in registry.malformed(kind).items():
        if filter in name:
            warnings.warn(f"Left out: {fault}", stacklevel=1)


def require_some(found: Collection[str], kind: str, filter: str) -> None:
    """Raise an InputError if no name is left."""
    if not found:
        raise InputError(f"`filter` {filter} is a part of no name: leave it out to list all {kind}.")


COMMAND = Command("list", "list models, datasets or backbones", list_names, order=110)
