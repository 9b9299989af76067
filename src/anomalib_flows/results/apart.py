"""Put the photos that are called anomalous apart: links, copies, or the photos themselves."""

from __future__ import annotations

import errno
import filecmp
import os
import shutil
import warnings
from pathlib import Path

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.files import atomic
from anomalib_flows.core.types import Apart
from anomalib_flows.results.table import read_rows

FOLDER = "anomalous"
PLACE = "set_apart"
"""Column of the table with the new place of a photo; empty for those that stay."""


def set_apart(table: Path, how: Apart) -> None:
    """Put the photos apart for which a table of predictions has a place; what was done before is left as it is.

    Raises:
        InputError: If there is another file at the place of a photo.
    """
    put, missing = {"link": link, "copy": copy, "move": move}[how], list[Path]()
    for row in read_rows(table):
        if not row[PLACE]:
            continue
        photo, place = Path(row["path"]), Path(row[PLACE])
        if os.path.lexists(photo) or os.path.lexists(place):
            place.parent.mkdir(parents=True, exist_ok=True)
            put(photo, place)
        else:
            missing.append(photo)
    if missing:
        warnings.warn(f"{len(missing)} photos to set apart are no longer there, such as {missing[0]}.", stacklevel=2)


def link(photo: Path, place: Path) -> None:
    """Make a symbolic link to a photo."""
    if os.path.lexists(place):
        require(place.is_symlink() and place.readlink() == photo.absolute(), place)
    else:
        place.symlink_to(photo.absolute())


def copy(photo: Path, place: Path) -> None:
    """Copy a photo with its times."""
    if os.path.lexists(place):
        require(filecmp.cmp(photo, place, shallow=False), place)
        return
    with atomic(place) as temporary:  # flushed
        shutil.copy2(photo, temporary)


def move(photo: Path, place: Path) -> None:
    """Move a photo. One that goes to another disk is removed once there is a whole copy."""
    if not os.path.lexists(photo):
        return  # it was moved before
    # A link would lead nowhere from its new place.
    if os.path.lexists(place) or photo.is_symlink() or not renamed(photo, place):
        copy(photo, place)
        if photo.is_symlink() or not photo.samefile(place):
            photo.unlink()


def renamed(photo: Path, place: Path) -> bool:
    """Rename a file; return False if its place is on another disk."""
    try:
        photo.rename(place)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        return False
    return True


def require(same: bool, place: Path) -> None:
    """Raise an InputError if another file is at the place of a photo."""
    if not same:
        raise InputError(f"{place} is another file than the photo that belongs there: move it away, and `resume`.")
