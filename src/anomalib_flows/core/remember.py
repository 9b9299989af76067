"""Remember facts about files as long as the files do not change."""

from __future__ import annotations

import json
import os
import sqlite3
import time
import zlib
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.files import map_in_threads
from anomalib_flows.core.store import SUFFIX, cache_folder

TABLE = "CREATE TABLE IF NOT EXISTS facts (key BLOB PRIMARY KEY, value TEXT) WITHOUT ROWID"
SECONDS = 5.0
"""Time to wait for another process that writes."""

RECENT = 2.0
"""Seconds after a change within which another change may leave the same times, so that nothing is remembered."""

Key = bytes | None


def database() -> Path:
    """Return the file that keeps the facts. Anybody may delete it."""
    return cache_folder("facts") / f"facts{SUFFIX}"


def remembered(
    kind: str,
    work: Callable[[Path], Any],
    paths: Sequence[Path],
    title: str,
    valid: Callable[[Any], object] = lambda _: True,
) -> list[Any]:
    """Return what ``work`` returns for each file, from earlier calls where the file has not changed since.

    A file is known by its path, size, and times of its last changes, of content and of metadata. On Windows, where the
    latter is the time of its creation, a file that another one of the same size and time replaces is not noticed.
    Without a writable cache, work is done again.

    Args:
        kind: Name of the facts, with a version.
        work: Function of a path whose result JSON can hold. It runs in threads.
        paths: Files.
        title: Title of the progress bar.
        valid: Whether a value can be a result of ``work``; what cannot is computed again.

    Returns:
        The results in the order of the files. Where ``work`` raised an InputError, that error.
    """
    keys = [_key(kind, path) for path in paths]
    known = {key: value for key, value in _read([key for key in keys if key]).items() if valid(value)}
    missing = [path for path, key in zip(paths, keys, strict=True) if key not in known]
    found: dict[Path, Any] = {}
    try:
        map_in_threads(lambda path: found.update({path: _result(work, path)}), missing, title)
    finally:  # also after Ctrl-C
        pairs = [(key, found[path]) for path, key in zip(paths, keys, strict=True) if key and path in found]
        _write({key: result for key, result in pairs if not isinstance(result, InputError)})
    return [found[path] if path in found else known[key] for path, key in zip(paths, keys, strict=True)]


def _result(work: Callable[[Path], Any], path: Path) -> Any:
    try:
        return work(path)
    except InputError as error:
        return error


def _key(kind: str, path: Path) -> Key:
    """Return the key of a file as it is now, or None if there is no such file or it has just changed."""
    try:
        state = path.stat()
    except (OSError, ValueError):
        return None
    if time.time() - max(state.st_mtime, state.st_ctime) < RECENT:
        return None
    parts = (kind, os.path.abspath(path), state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino)  # noqa: PTH100
    return sha256("\0".join(map(str, parts)).encode(errors="surrogateescape")).digest()[:20]


def _read(keys: Sequence[bytes]) -> dict[Key, Any]:
    """Return the values of the keys that are known."""
    found: dict[Key, Any] = {}
    with (
        suppress(sqlite3.Error, OSError, ValueError, TypeError),
        closing(sqlite3.connect(f"{database().as_uri()}?mode=ro", SECONDS, uri=True)) as connection,
    ):
        for start in range(0, len(keys), 500):
            some = keys[start : start + 500]
            places = ",".join("?" * len(some))
            rows = connection.execute(f"SELECT key, value FROM facts WHERE key IN ({places})", some)  # noqa: S608
            found |= {key: json.loads(text[8:]) for key, text in rows if text[:8] == checksum(text[8:])}
    return found


def checksum(text: str) -> str:
    """Return a checksum of eight digits, by which damage is noticed."""
    return f"{zlib.crc32(text.encode()):08x}"


def _write(values: dict[bytes, Any]) -> None:
    """Keep values; a damaged database is replaced, and one that cannot be written is left as it is."""
    if not values:
        return
    texts = {key: json.dumps(value) for key, value in values.items()}
    rows = [(key, checksum(text) + text) for key, text in texts.items()]
    with suppress(sqlite3.Error, OSError):
        database().parent.mkdir(parents=True, exist_ok=True)
        try:
            _insert(rows)
        except sqlite3.OperationalError:  # locked, or no place to write
            return
        except sqlite3.DatabaseError:
            database().unlink()
            _insert(rows)


def _insert(rows: Sequence[tuple[bytes, str]]) -> None:
    with closing(sqlite3.connect(database(), SECONDS)) as connection, connection:
        connection.execute(TABLE)
        connection.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?)", rows)
