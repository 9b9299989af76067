"""``anomalib-flows list``: what there is to choose from."""

from __future__ import annotations

from typing import Literal

from anomalib_flows.core import registry


def list_names(kind: Literal["models", "datasets", "backbones"], filter: str = "") -> list[str]:
    """List models, datasets or backbones.

    Args:
        kind: What to list.
        filter: Part of the names to list.
    """
    if kind == "backbones":
        from anomalib_flows.encoders import encoder as backbones  # timm takes a second to import

        names = [name for name in backbones.names() if filter in name]
        print("\n".join(names))
        return names
    entries = {name: entry for name, entry in sorted(registry.entries(kind).items()) if filter in name}
    for name, entry in entries.items():
        print(f"{name:20} {entry.module}.{entry.attr} ({registry.distribution(entry)})")
    return list(entries)
