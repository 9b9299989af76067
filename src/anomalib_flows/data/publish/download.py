"""Fetch published archives, going on where a broken connection left off."""

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
from anomalib_flows.core.files import read_with_bar
from anomalib_flows.data.datasets.card import Archive

CHUNK = 2**20
TRIES = 3
"""How often in a row an attempt may bring nothing before we give up."""
PAUSE = 2.0
"""Seconds before another attempt."""
TIMEOUT = 60
BROKEN = (urllib.error.URLError, ConnectionError, TimeoutError, ssl.SSLError, http.client.HTTPException)
UNREACHABLE = (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN)
LATER = (http.client.REQUEST_TIMEOUT, http.client.TOO_MANY_REQUESTS)
"""Refusals that another attempt may overcome, as those of 500 and above."""


def download(archive: Archive, folder: Path) -> Path:
    """Fetch an archive into a folder, unless it is there, and verify its checksum.

    What was fetched before the connection broke is kept as ``NAME.part``, and the next call goes on from there.

    Raises:
        InputError: If the address is none, the server refuses or cannot be reached, or the checksum is another.
        OSError: If the folder cannot be written to.
    """
    if not re.match(r"https?://", archive.url):
        raise InputError(f"The address {archive.url!r} of {archive.file} is none of the web: get the file by hand.")
    file = folder / Path(archive.file).name
    try:
        if not file.exists():
            folder.mkdir(parents=True, exist_ok=True)
            part = file.with_name(f"{file.name}.part")
            fetch_all(archive.url, part)
            part.replace(file)
        verify_fetched(file, archive.checksum)
    finally:
        with suppress(OSError):  # goes if nothing came
            folder.rmdir()
    return file


def verify_fetched(file: Path, checksum: str) -> None:
    """Verify a file, and remove one that fails, or the next call would find it again."""
    try:
        verify(file, checksum)
    except InputError:
        file.unlink()
        raise


def fetch_all(url: str, part: Path) -> None:
    """Fetch a file, with another attempt whenever the connection breaks and the last one brought anything."""
    vain, reason = 0, ""
    while vain < TRIES:
        before = size_of(part)
        try:
            if fetch(url, part):
                return
            reason = "the connection broke"
        except KeyboardInterrupt:
            raise KeyboardInterrupt("Stopped. The same command goes on from there.") from None
        except (OSError, http.client.HTTPException) as error:
            if not isinstance(error, BROKEN) and getattr(error, "errno", None) not in UNREACHABLE:
                raise
            reason = str(getattr(error, "reason", "") or error or type(error).__name__)
            if isinstance(error, urllib.error.HTTPError) and error.code < 500 and error.code not in LATER:
                raise InputError(f"{url} cannot be had (HTTP {error.code}, {reason}): get it by hand.") from error
        vain = 0 if size_of(part) > before else vain + 1
        time.sleep(PAUSE)
    kept = f"; {size_of(part)} bytes are kept in {part}, and the same command goes on from there" * part.exists()
    raise InputError(f"{url} cannot be had ({reason}): try again later{kept}.")


def fetch(url: str, part: Path) -> bool:
    """Fetch what is missing of a file in one attempt; return whether it is whole."""
    have = size_of(part)
    headers = {"Range": f"bytes={have}-"} if have else {}
    try:
        answer = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)  # noqa: S310 (is http)
    except urllib.error.HTTPError as error:
        if error.code != http.client.REQUESTED_RANGE_NOT_SATISFIABLE or not have:
            raise
        if error.headers.get("Content-Range") == f"bytes */{have}":
            return True
        part.unlink()  # longer than the file: of another version
        return False
    with answer:
        start = starts_at(answer, have)
        length = answer.headers.get("Content-Length")
        total = None if length is None else start + int(length)
        write(answer, part, start, total)
    return total is None or size_of(part) == total  # without a length, a broken connection is an error


def starts_at(answer: http.client.HTTPResponse, have: int) -> int:
    """Where in the file an answer begins; servers may ignore that only a part was asked for."""
    if answer.status != http.client.PARTIAL_CONTENT:
        return 0
    begin = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
    if not begin or int(begin[1]) != have:
        raise http.client.HTTPException("the server sent another part of the file than was asked for")
    return have


def write(answer: http.client.HTTPResponse, part: Path, start: int, total: int | None) -> None:
    """Append to what is there of a file, or begin anew, with a bar of progress."""
    bar = tqdm(desc=part.stem, initial=start, total=total, unit="B", unit_scale=True, leave=False, disable=None)
    with part.open("ab" if start else "wb") as stream, bar:
        while chunk := answer.read(CHUNK):
            stream.write(chunk)
            bar.update(len(chunk))


def verify(file: Path, checksum: str) -> None:
    """Compare a file with its published digest.

    Args:
        file: The file.
        checksum: ``sha256:...`` or ``md5:...``; empty if none is published.

    Raises:
        InputError: If it is another file.
    """
    if not checksum:
        return
    algorithm, _, expected = checksum.partition(":")
    digest = hashlib.new(algorithm)
    with read_with_bar(file, "verifying") as stream:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
    if digest.hexdigest() != expected.lower():
        raise InputError(
            f"{file} is damaged or another version: its {algorithm} is {digest.hexdigest()}, where {expected} is "
            "published; get it again."
        )


def size_of(file: Path) -> int:
    """Bytes of a file; 0 if there is none."""
    return file.stat().st_size if file.exists() else 0
