"""``anomalib-flows list``: the models, datasets and backbones that there are."""

from __future__ import annotations

import warnings
from typing import Literal

from anomalib_flows.commands.command import Command


def list_names(kind: Literal["models", "datasets", "backbones"], filter: str = "") -> None:
    """List models, datasets or backbones.

    Args:
        kind: What to list.
        filter: Part of the names to list.
    """
    if kind == "backbones":
        from anomalib_flows.encoders.weights import backbone_names

        names = [name for name in backbone_names() if filter in name]
        print("\n".join(names))
        return
    from anomalib_flows.core import registry

    entries = {name: entry for name, entry in sorted(registry.entries(kind).items()) if filter in name}
    for name, entry in entries.items():
        print(f"{name:20} {entry.module}.{entry.attr} ({registry.distribution(entry)})")
    for name, fault in registry.malformed(kind).items():
        if filter in name:
            warnings.warn(f"Left out: {fault}", stacklevel=1)


COMMAND = Command("list", "list models, datasets or backbones", list_names, order=110)
