"""Extract archives of unknown origin: no file outside the folder, no links, no bombs."""

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
from typing import IO, Any, NamedTuple, Self, cast

from anomalib_flows.core.errors import NO_PERMISSION, NO_SPACE, InputError, first_line
from anomalib_flows.core.files import naming, open_with_progress

MOST_MEMBERS = 1_000_000
MOST_EXPANSION = 100
"""Largest ratio of content to archive. Images hardly expand; masks of videos expand up to tenfold."""
HARMLESS = 256 * 2**20
"""Bytes of content that are always accepted."""
CHUNK = 2**20

DECOMPRESSORS: dict[bytes, Callable[..., Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
ZIP = (b"PK\x03\x04", b"PK\x05\x06")
NOT_ON_WINDOWS = re.compile(r'[<>:"|?*]|[. ]$|^(con|prn|aux|nul|(com|lpt)\d)(\.|$)', re.IGNORECASE)
UNFIT_NAME = (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ)


class Member(NamedTuple):
    """A file or folder in an archive; ``kind`` is ``file``, ``folder`` or the name of another kind."""

    name: str
    kind: str
    open: Callable[[], Any]


class Metered:
    """Limit the bytes that are read from streams, as protection against bombs; several streams share a budget."""

    def __init__(self, stream: IO[bytes], budget: list[int]) -> None:
        self.stream, self.budget = stream, budget

    def read(self, size: int) -> bytes:
        """Read at most ``size`` bytes, or raise an InputError if the budget is spent."""
        content = self.stream.read(size)
        self.budget[0] -= len(content)
        if self.budget[0] < 0:
            raise InputError(f"more than {MOST_EXPANSION} times its own size")
        return content


def extract(archive: Path, folder: Path) -> None:
    """Extract a tar (plain, gz, bz2 or xz) or zip file, known by its content, into an empty folder.

    Permissions, owners and times are ignored. Refused are paths that lead out of the folder, that this system cannot
    use or that occur twice, links, devices, and too many members or bytes; then the caller must remove the folder.
    """
    try:
        with open_archive(archive) as members:
            extract_members(members, folder)
    except InputError as error:
        raise InputError(
            f"{archive} was not unpacked, since it holds {error}: get it again from its makers."
        ) from error
    except Exception as error:  # on damaged archives, libraries raise errors of many types
        if isinstance(error, OSError) and error.errno in NO_SPACE + NO_PERMISSION:
            raise
        raise InputError(
            f"{archive} is damaged or not a tar or zip file ({first_line(error).strip('.')}): get it again."
        ) from error


@contextmanager
def open_archive(archive: Path) -> Iterator[Iterator[Member]]:
    """Open an archive and yield its members, with a progress bar."""
    budget = [max(HARMLESS, MOST_EXPANSION * archive.stat().st_size)]
    with open_with_progress(archive, "unpacking") as stream:
        start = stream.read(4)
        stream.seek(0)
        read = zip_members if start in ZIP else tar_members  # is_zipfile would accept a tar with a zip in it
        yield read(stream, budget)


class SoundHeader(tarfile.TarInfo):
    """Header of a member; one that is damaged or missing is an error, where tarfile takes it for the end."""

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> Self:
        """Read the next header; a block of zeros marks the end."""
        try:
            return super().fromtarfile(tarfile_)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # of all versions of Python
            raise
        except tarfile.HeaderError as error:
            fault = f"header at byte {tarfile_.offset}: {error}"
            raise tarfile.ReadError(fault if str(error) != "empty header" else "it ends too early") from error


def zip_members(stream: IO[bytes], budget: list[int]) -> Iterator[Member]:
    """Yield the members of a zip file."""
    with zipfile.ZipFile(stream) as archive:
        for info in archive.infolist():
            file_type = stat.S_IFMT(info.external_attr >> 16)  # 0 unless it was made on Unix
            plain = file_type in (0, stat.S_IFREG, stat.S_IFDIR)
            kind = ("folder" if info.is_dir() else "file") if plain else "a link or device"
            yield Member(info.filename, kind, lambda info=info: Metered(archive.open(info), budget))  # type: ignore[misc]


def tar_members(stream: IO[bytes], budget: list[int]) -> Iterator[Member]:
    """Yield the members of a tar file; each one must be read before the next."""
    start = stream.read(6)
    stream.seek(0)
    decompress = next((DECOMPRESSORS[magic] for magic in DECOMPRESSORS if start.startswith(magic)), None)
    content = decompress(stream) if decompress else stream
    metered = Metered(content, budget)  # as a whole, because headers can be bombs as well
    with tarfile.open(fileobj=cast("IO[bytes]", metered), mode="r|", tarinfo=SoundHeader) as archive:
        for info in archive:
            archive.members = []  # type: ignore[attr-defined]  # it would keep all members
            yield Member(info.name, tar_kind(info), partial(archive.extractfile, info))
        while rest := cast("IO[bytes]", archive.fileobj).read(CHUNK):  # to the end, where checksums are
            if rest.strip(b"\0"):
                raise tarfile.ReadError("it goes on after its end")


def tar_kind(info: tarfile.TarInfo) -> str:
    """Return the kind of a member of a tar file."""
    if info.isdir():
        return "folder"
    # The zeros of a sparse file are not in the archive, so they would not be counted.
    return "file" if info.isreg() and not info.issparse() else "a link, device or sparse file"


def extract_members(members: Iterator[Member], folder: Path) -> None:
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
    """Return the path of a member, unless it leads out of the folder, on any system, or cannot name a file here."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or re.match(r"[A-Za-z]:", name):
        raise InputError(f"the path {name!r}, which may lead out of the folder")
    control = any(letter < " " for letter in name)
    if control or (os.name == "nt" and any(NOT_ON_WINDOWS.search(part) for part in path.parts)):
        raise InputError(f"the name {name!r}, which this system cannot use")
    return path


def ignores_case(folder: Path) -> bool:
    """Return whether the disk treats ``A`` and ``a`` as one name, as on Windows and macOS."""
    with tempfile.NamedTemporaryFile(prefix=".case-", dir=folder) as probe:
        return Path(probe.name).with_name(Path(probe.name).name.swapcase()).exists()


def require_one_spelling(path: PurePosixPath, spelt: dict[str, str]) -> None:
    """Raise an InputError for a path that differs from an earlier one only by upper and lower case."""
    for part in (path, *path.parents):
        other = spelt.setdefault(str(part).casefold(), str(part))
        if other != str(part):
            raise InputError(f"{other!r} and {str(part)!r}, which are one name on this disk")


def write_member(member: Member, path: Path) -> None:
    """Write a file or make a folder; an existing file is an error."""
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
        short = member.name if len(member.name) <= 60 else member.name[:60] + "..."
        raise InputError(f"the name {short!r}, which this system cannot use") from error
    with target, naming(path):
        shutil.copyfileobj(member.open(), target, CHUNK)
