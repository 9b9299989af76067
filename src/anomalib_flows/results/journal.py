"""Files that grow line by line, with a checksum for each line: what was written whole is found, however it ended."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import SEEK_END, FileIO
from pathlib import Path
from typing import NamedTuple

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.files import atomic
from anomalib_flows.results.table import csv_line, write_whole

LONGEST = 2**16
"""Bytes within which a line ends: the name of a file may contain the end of a line."""


class Form(NamedTuple):
    """Form of the lines of a journal: what is before the checksum, the end, and the first line, which has none."""

    separator: bytes
    end: bytes
    header: bytes = b""

    def sealed(self, line: bytes) -> bytes:
        """Put a checksum (CRC-32) at the end of a line."""
        content = line.removesuffix(self.end)
        return content + self.separator + b"%08x" % zlib.crc32(content) + self.end

    def opened(self, sealed: bytes) -> bytes | None:
        """Return a line without its checksum; None if it is damaged or has no end."""
        line = sealed[: -8 - len(self.separator + self.end)] + self.end
        return line if self.sealed(line) == sealed else None


ROWS, DRAWN, RECORD = "predictions.partial.csv", "thumbnails.partial.jsonl", "prediction.partial.json"
"""What a folder of predictions holds until it is complete: rows, thumbnails, and what makes it another prediction."""
THUMBNAILS = Form(b"\t", b"\n")


def table_form(columns: tuple[str, ...]) -> Form:
    """Return the form of a table with a column for the checksum."""
    return Form(b",", b"\r\n", csv_line((*columns, "crc32")))


class Journal:
    """Lines that are appended to an open file, and their number."""

    def __init__(self, stream: FileIO, file: Path, form: Form) -> None:
        self.stream, self.file, self.form, self.count = stream, file, form, 0

    @classmethod
    @contextmanager
    def open(cls, file: Path, form: Form) -> Iterator[Journal]:
        """Open a file to append lines."""
        with file.open("a+b", buffering=0) as stream:
            yield cls(stream, file, form)

    def append(self, line: bytes) -> None:
        """Append a line as a whole, or nothing of it if that fails."""
        write_whole(self.stream, self.form.sealed(line))
        self.count += 1

    def lines(self) -> Iterator[tuple[bytes, int]]:
        """Yield each line without its checksum, and where it ends, up to the first one that is damaged."""
        with self.file.open("rb") as stream:
            if stream.read(len(self.form.header)) != self.form.header:
                return
            end, pending = len(self.form.header), b""
            for part in stream:
                pending += part
                if (line := self.form.opened(pending)) is not None:
                    end += len(pending)
                    yield line, end
                    pending = b""
                elif len(pending) > LONGEST:
                    return

    def keep(self, count: int, end: int) -> None:
        """Remove all but the first lines, which end there; without any, begin the file with its first line."""
        self.count = count
        self.stream.truncate(end if count else 0)
        self.stream.seek(0, SEEK_END)
        if not count:
            write_whole(self.stream, self.form.header)

    def finish(self, file: Path, header: bytes) -> None:
        """Write the lines without their checksums to a file that is complete or not there."""
        found = 0
        with atomic(file) as temporary, temporary.open("wb") as stream:
            stream.write(header)
            for line, _ in self.lines():
                stream.write(line)
                found += 1
            if found != self.count:
                raise InputError(f"{self.file} was damaged meanwhile: repeat the command with `resume`.")
