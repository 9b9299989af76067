"""Download published archives, and continue after a broken connection."""

from __future__ import annotations

import errno
import hashlib
import http.client
import re
import ssl
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

from tqdm import tqdm

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.files import open_with_progress
from anomalib_flows.data.datasets.base import Archive

CHUNK = 2**20
TRIES = 3
"""Attempts in a row without any data after which the download fails."""
PAUSE = 2.0
"""Seconds before the next attempt."""
TIMEOUT = 60
BROKEN = (urllib.error.URLError, ConnectionError, TimeoutError, ssl.SSLError, http.client.HTTPException)
UNREACHABLE = (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN)
LATER = (http.client.REQUEST_TIMEOUT, http.client.TOO_MANY_REQUESTS)
"""Status codes below 500 after which another attempt may succeed."""


def download(archive: Archive, folder: Path) -> Path:
    """Download an archive into a folder, unless it exists there, and verify its checksum.

    After a broken connection the part that was downloaded is kept as ``NAME.part``, and the next call continues it.
    """
    if not re.match(r"https?://", archive.url):
        raise InputError(f"The address {archive.url!r} of {archive.file} is not a web address: get the file by hand.")
    file = folder / Path(archive.file).name
    try:
        if not file.exists():
            folder.mkdir(parents=True, exist_ok=True)
            part = file.with_name(f"{file.name}.part")
            fetch_all(archive.url, part)
            part.replace(file)
        verify(file, archive.checksum)
    except InputError:
        file.unlink(missing_ok=True)  # the next call would use it again
        raise
    finally:
        with suppress(OSError):  # remove it if it is empty
            folder.rmdir()
    return file


def fetch_all(url: str, part: Path) -> None:
    """Download a file in as many attempts as needed, until several in a row bring no data."""
    failed, reason = 0, ""
    while failed < TRIES:
        before = bytes_of(part)
        try:
            if fetch(url, part):
                return
            reason = "the connection broke"
        except KeyboardInterrupt:
            raise KeyboardInterrupt("Stopped. The next download continues from there.") from None
        except (OSError, http.client.HTTPException) as error:
            if not isinstance(error, BROKEN) and getattr(error, "errno", None) not in UNREACHABLE:
                raise
            reason = str(getattr(error, "reason", "") or error or type(error).__name__)
            if isinstance(error, urllib.error.HTTPError) and error.code < 500 and error.code not in LATER:
                raise InputError(
                    f"{url} cannot be downloaded (HTTP {error.code}, {reason}): get it by hand."
                ) from error
        failed = 0 if bytes_of(part) > before else failed + 1
        time.sleep(PAUSE)
    kept = f"; {bytes_of(part)} bytes are kept in {part}, and the next download continues from there" * part.exists()
    raise InputError(f"{url} cannot be downloaded ({reason}): try again later{kept}.")


def fetch(url: str, part: Path) -> bool:
    """Download the missing part of a file in one attempt, and return whether the file is complete."""
    have = bytes_of(part)
    headers = {"Range": f"bytes={have}-"} if have else {}
    try:
        answer = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)  # noqa: S310 (is http)
    except urllib.error.HTTPError as error:
        if error.code != http.client.REQUESTED_RANGE_NOT_SATISFIABLE or not have:
            raise
        if error.headers.get("Content-Range") == f"bytes */{have}":
            return True
        part.unlink()  # it is longer than the file: another version
        return False
    with answer:
        start = starts_at(answer, have)
        length = answer.headers.get("Content-Length")
        total = None if length is None else start + int(length)
        append(answer, part, start, total)
    return total is None or bytes_of(part) == total  # without a length, a broken connection is an error


def starts_at(answer: http.client.HTTPResponse, have: int) -> int:
    """Return the position in the file at which an answer begins; servers may ignore a range."""
    if answer.status != http.client.PARTIAL_CONTENT:
        return 0
    begin = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
    if not begin or int(begin[1]) != have:
        raise http.client.HTTPException("the server sent another part of the file than was asked for")
    return have


def append(answer: http.client.HTTPResponse, part: Path, start: int, total: int | None) -> None:
    """Append an answer to a file, or replace the file if the answer starts at 0, with a progress bar."""
    bar = tqdm(desc=part.stem, initial=start, total=total, unit="B", unit_scale=True, leave=False, disable=None)
    with part.open("ab" if start else "wb") as stream, bar:
        while chunk := answer.read(CHUNK):
            stream.write(chunk)
            bar.update(len(chunk))


def verify(file: Path, checksum: str) -> None:
    """Raise an InputError unless a file has its published digest, ``sha256:...`` or ``md5:...``, if there is one."""
    if not checksum:
        return
    algorithm, _, expected = checksum.partition(":")
    digest = hashlib.new(algorithm)
    with open_with_progress(file, "verifying") as stream:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
    if digest.hexdigest() != expected.lower():
        raise InputError(
            f"{file} is damaged or another version: its {algorithm} is {digest.hexdigest()}, where {expected} is "
            "published; get it again."
        )


def bytes_of(file: Path) -> int:
    """Return the size of a file in bytes; 0 if it does not exist."""
    return file.stat().st_size if file.exists() else 0
