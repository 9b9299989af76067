"""Order of the gallery: from the idea to the factory."""

from __future__ import annotations

ORDER = ("flows", "fastflow", "cflow", "thresholds", "sampling", "export", "plugin", "report")


def key(filename: str) -> int:
    """Return the place of a script ``plot_NAME.py``; a script that is not listed comes last."""
    name = filename.removeprefix("plot_").removesuffix(".py")
    return ORDER.index(name) if name in ORDER else len(ORDER)
