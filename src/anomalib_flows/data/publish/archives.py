"""Unpack archives of unknown origin: nothing is written outside the folder, and nothing fills the disk."""

from __future__ import annotations

import bz2
import errno
import gzip
import lzma
import os
import re
import shutil
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple, cast

from anomalib_flows.core.errors import NO_PERMISSION, NO_SPACE, InputError, first_line
from anomalib_flows.core.files import read_with_bar

MOST_MEMBERS = 1_000_000
MOST_EXPANSION = 100
"""How many times larger than the archive its content may be; images hardly expand, videos' masks up to tenfold."""
HARMLESS = 256 * 2**20
"""Bytes that an archive may hold whatever its own size."""
CHUNK = 2**20

DECOMPRESSORS: dict[bytes, Callable[..., Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
ZIP = (b"PK\x03\x04", b"PK\x05\x06")
NOT_ON_WINDOWS = re.compile(r'[<>:"|?*]|[. ]$|^(con|prn|aux|nul|(com|lpt)\d)(\.|$)', re.IGNORECASE)
UNFIT_NAME = (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ)


class Member(NamedTuple):
    """A file or folder in an archive; ``kind`` is ``file``, ``folder`` or what it is instead."""

    name: str
    kind: str
    open: Callable[[], Any]


class Metered:
    """A stream that stops a bomb: of all streams with one budget no more may be read than it has.

    Args:
        stream: What to read from.
        budget: Number of bytes that are left, in a list, since several streams share it.
    """

    def __init__(self, stream: IO[bytes], budget: list[int]) -> None:
        self.stream, self.budget = stream, budget

    def read(self, size: int) -> bytes:
        """Read at most ``size`` bytes.

        Raises:
            InputError: If the budget is spent.
        """
        content = self.stream.read(size)
        self.budget[0] -= len(content)
        if self.budget[0] < 0:
            raise InputError(f"more than {MOST_EXPANSION} times its own size")
        return content


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a tar (plain, gz, bz2 or xz) or zip file into an empty folder.

    When it is refused, the folder holds a part of it, for the caller to remove. Rights, owners and times are not
    taken over.

    Args:
        archive: The file; its content decides what it is, not its name.
        folder: An empty folder.

    Raises:
        InputError: If the archive is damaged, empty or foreign, or if a member would lie outside the folder, is a
            link or a device, has a name that this system cannot hold or the name of another one, or if there are too
            many members or bytes.
        OSError: If the disk is full or may not be written to.
    """
    try:
        with opened(archive) as members:
            write(members, folder)
    except InputError as error:
        raise InputError(f"{archive} was not unpacked, since it holds {error}: get it anew from its makers.") from error
    except Exception as error:  # on damaged archives, libraries raise errors of many types
        if isinstance(error, OSError) and error.errno in NO_SPACE + NO_PERMISSION:
            raise
        raise InputError(
            f"{archive} is damaged or no tar or zip file ({first_line(error).strip('.')}): get it again."
        ) from error


@contextmanager
def opened(archive: Path) -> Iterator[Iterator[Member]]:
    """Open an archive and show, while it is read, how far that is."""
    budget = [max(HARMLESS, MOST_EXPANSION * archive.stat().st_size)]
    with read_with_bar(archive, "unpacking") as stream:
        start = stream.read(4)
        stream.seek(0)
        read = zip_members if start in ZIP else tar_members  # is_zipfile would also find a zip within a tar
        yield read(stream, budget)


def zip_members(stream: IO[bytes], budget: list[int]) -> Iterator[Member]:
    """List what a zip file holds."""
    with zipfile.ZipFile(stream) as archive:
        for info in archive.infolist():
            file_type = stat.S_IFMT(info.external_attr >> 16)  # 0 unless it was made on Unix
            plain = file_type in (0, stat.S_IFREG, stat.S_IFDIR)
            kind = ("folder" if info.is_dir() else "file") if plain else "a link or device"
            yield Member(info.filename, kind, lambda info=info: Metered(archive.open(info), budget))  # type: ignore[misc]


def tar_members(stream: IO[bytes], budget: list[int]) -> Iterator[Member]:
    """List what a tar file holds; each member must be read before the next is asked for."""
    start = stream.read(6)
    stream.seek(0)
    decompress = next((DECOMPRESSORS[magic] for magic in DECOMPRESSORS if start.startswith(magic)), None)
    content = decompress(stream) if decompress else stream
    metered = Metered(content, budget)  # as a whole, because headers too can be bombs
    with tarfile.open(fileobj=cast("IO[bytes]", metered), mode="r|") as archive:
        for info in archive:
            archive.members = []  # type: ignore[attr-defined]  # it would keep all of them
            yield Member(info.name, tar_kind(info), partial(archive.extractfile, info))
    while metered.read(CHUNK):
        pass  # checksums stand at the end


def tar_kind(info: tarfile.TarInfo) -> str:
    """Say what a member of a tar file is."""
    if info.isdir():
        return "folder"
    # The zeros of a sparse file are not in the archive, so that nobody would count them.
    return "file" if info.isreg() and not info.issparse() else "a link, device or sparse file"


def write(members: Iterator[Member], folder: Path) -> None:
    """Write all members into a folder."""
    spelt: dict[str, str] | None = {} if ignores_case(folder) else None
    files = 0
    for count, member in enumerate(members):
        if count >= MOST_MEMBERS:
            raise InputError(f"more than {MOST_MEMBERS} files")
        if member.kind not in ("file", "folder"):
            raise InputError(f"{member.kind}, {member.name!r}")
        name = safe_name(member.name)
        if spelt is not None:
            require_one_spelling(name, spelt)
        write_member(member, folder / name)
        files += member.kind == "file"
    if not files:
        raise InputError("no files")


def safe_name(name: str) -> PurePosixPath:
    """Path of a member, relative to the folder.

    Raises:
        InputError: If it leads out of the folder, or could do so on another system, or cannot name a file here.

    Example:
        >>> safe_name("./bottle/train/good/000.png").as_posix()
        'bottle/train/good/000.png'
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or re.match(r"[A-Za-z]:", name):
        raise InputError(f"the path {name!r}, which may lead out of the folder")
    control = any(letter < " " for letter in name)
    if control or (os.name == "nt" and any(NOT_ON_WINDOWS.search(part) for part in path.parts)):
        raise InputError(f"the name {name!r}, which this system cannot hold")
    return path


def ignores_case(folder: Path) -> bool:
    """Whether the disk takes ``A`` and ``a`` for one name, as those of Windows and macOS do."""
    with tempfile.NamedTemporaryFile(prefix=".case-", dir=folder) as probe:
        return Path(probe.name).with_name(Path(probe.name).name.swapcase()).exists()


def require_one_spelling(path: PurePosixPath, spelt: dict[str, str]) -> None:
    """Refuse a path that differs from an earlier one by upper and lower case only."""
    for part in (path, *path.parents):
        other = spelt.setdefault(str(part).casefold(), str(part))
        if other != str(part):
            raise InputError(f"{other!r} and {str(part)!r}, which are one name on this disk")


def write_member(member: Member, path: Path) -> None:
    """Write a file or make a folder; no file is written twice."""
    try:
        if member.kind == "folder":
            path.mkdir(parents=True, exist_ok=True)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        target = path.open("xb")
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise InputError(f"two members of one name, {member.name!r}") from error
    except (OSError, UnicodeEncodeError) as error:
        if isinstance(error, OSError) and error.errno not in UNFIT_NAME:
            raise
        raise InputError(f"the name {short(member.name)!r}, which this system cannot hold") from error
    with target:
        shutil.copyfileobj(member.open(), target, CHUNK)


def short(name: str) -> str:
    """Begin a name that is too long to be read.

    Example:
        >>> len(short("a" * 500))
        63
    """
    return name if len(name) <= 60 else name[:60] + "..."
