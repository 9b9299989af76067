"""Move the content of extracted archives to its place in a dataset."""

from __future__ import annotations

import filecmp
import os
from collections.abc import Iterable
from pathlib import Path

from anomalib_flows.core.errors import InputError
from anomalib_flows.data.datasets.card import Card


def merge(extracted: Path, file: Path, card: Card, ready: Path) -> None:
    """Move the content of an archive to its place among that of others, without an enclosing folder."""
    category = card.archive(file.name).category
    content = inner(extracted, {*card.counts, *(archive.category for archive in card.archives)})
    if category and not (content / category).is_dir():
        ready = ready / category
        ready.mkdir(exist_ok=True)
    if twice := clashes(visible(content), ready):
        raise InputError(f"{file} has {twice[0].name!r}, as another archive does: give only one of them.")
    move(visible(content), ready)


def inner(folder: Path, categories: set[str]) -> Path:
    """Return the innermost folder that a folder encloses without anything else, unless it is a category."""
    while True:
        entries = visible(folder)
        if len(entries) != 1 or not entries[0].is_dir() or entries[0].name in categories:
            return folder
        folder = entries[0]


def visible(folder: Path) -> list[Path]:
    """List a folder without what macOS adds to archives."""
    return [entry for entry in folder.iterdir() if not entry.name.startswith(".") and entry.name != "__MACOSX"]


def move(entries: Iterable[Path], target: Path) -> None:
    """Move files and folders, or none of them if one of their names exists already.

    Existing files of the same content, such as a licence that comes with each archive, are no obstacle.
    """
    new = [entry for entry in entries if not same_file(entry, target / entry.name)]
    for entry in new:
        require_free(target / entry.name)
    for entry in new:
        entry.rename(target / entry.name)


def clashes(entries: Iterable[Path], target: Path) -> list[Path]:
    """List the entries whose name exists in a folder with another content."""
    return [e for e in entries if os.path.lexists(target / e.name) and not same_file(e, target / e.name)]


def same_file(one: Path, other: Path) -> bool:
    """Return whether both are files of the same content."""
    return one.is_file() and other.is_file() and filecmp.cmp(one, other, shallow=False)


def require_free(path: Path) -> None:
    """Raise an InputError if a path exists."""
    if os.path.lexists(path):
        raise InputError(f"{path} exists already and is kept: name another `root`, or move it away first.")
