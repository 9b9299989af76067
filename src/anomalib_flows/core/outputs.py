"""Check where something is to be written, before hours of work."""

from __future__ import annotations

import os
from pathlib import Path

from anomalib_flows.core.errors import InputError

LONGEST_NAME = 255
"""Bytes of a name in all common file systems."""
LONGEST_PATH = 4000
"""Bytes of a path on Linux, with room for the names of temporary folders."""


def require_place(field: str, path: Path, *, folder: bool = True) -> None:
    """Raise an InputError if a path cannot be written to.

    Args:
        field: Name of the argument that gives the path.
        path: The path, which may not exist yet.
        folder: Whether it is a folder that files are to be written to, or a file.
    """
    if len(os.fsencode(path.absolute())) > LONGEST_PATH:
        raise InputError(f"`{field}` has a path of more than {LONGEST_PATH} bytes: choose a shorter one.")
    if too_long := next((part for part in path.parts if len(os.fsencode(part)) > LONGEST_NAME), ""):
        raise InputError(f"`{field}` has the name {too_long[:20]}..., which is too long: choose a shorter one.")
    if not folder and path.is_dir():
        raise InputError(f"`{field}` {path} is a folder: name a file in it.")
    if fault := _fault(path.absolute(), folder):
        raise InputError(f"`{field}` {path} cannot be written: {fault}; name another one.")


def _fault(path: Path, folder: bool) -> str:
    """Return why a path cannot be written to; empty text if it can be."""
    # Not Path.exists: it takes a link without a target for nothing, which then cannot be made.
    above = next(place for place in (path, *path.parents) if os.path.lexists(place))
    if above.is_symlink() and not above.exists():
        return f"{above} is a link to {above.readlink()}, which leads nowhere"
    if above == path and not folder:
        above = path.parent
    if not above.is_dir():
        return f"{above} is a file"
    if not os.access(above, os.W_OK | os.X_OK):
        return f"{above} is read-only"
    return ""
