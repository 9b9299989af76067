"""Damage valid files of every kind at random, and read them: each is read, or refused with an InputError.

Anything else is a finding: another error, more memory or time than the limits, or the end of the process. The damaged
file is kept, and a table counts what was tried::

    python tools/fuzz.py all --seconds 10
    python tools/fuzz.py model splits --seconds 3600 --seed 7 --findings found
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

MEMORY = 2 * 2**30
"""Bytes that reading may take beside what the process has."""
SECONDS = 10
"""Time that reading may take."""
TOKENS = (
    *(b"\0", b"\xff\xfe", b"\n", b",", b'"', b"'", b"[" * 50, b"{" * 50, b"]", b"}", b":", b"- ", b"&a ", b"*a", b"!!"),
    *(
        b"null",
        b"true",
        b"NaN",
        b"Infinity",
        b"-1",
        b"1e999",
        b"9" * 25,
        b"2024-13-01",
        b"../../x",
        b"/dev/zero",
        b"=1",
    ),
    *(b"class_path", b"init_args", b"os.system", b"\x80\x04", b"PK\x03\x04", b"\x7fELF", b"\xed\xa0\x80", b"\x1b[2J"),
)
"""What formats give a meaning to."""


class Reader(NamedTuple):
    """A reader, and the files of a folder to damage."""

    files: tuple[str, ...]
    read: Callable[[Path], Any]


class Finding(NamedTuple):
    """A damaged file that was neither read nor refused."""

    number: int
    problem: str


def mutated(content: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """Damage content in one to four ways."""
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(changed) + 1)
        kind = rng.randrange(7)
        if kind == 0 and changed:
            changed[min(at, len(changed) - 1)] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del changed[at:]
        elif kind == 2:
            del changed[at : at + rng.randrange(1, 64)]
        elif kind == 3:
            changed[at:at] = rng.choice(TOKENS)
        elif kind == 4:
            token = rng.choice(TOKENS)
            changed[at : at + len(token)] = token
        elif kind == 5:
            source = rng.choice(others)
            start = rng.randrange(len(source) + 1)
            changed[at : at + rng.randrange(64)] = source[start : start + rng.randrange(256)]
        else:
            change_number(changed, rng)
    return bytes(changed)


def change_number(content: bytearray, rng: random.Random) -> None:
    """Replace a number in text by another one."""
    if found := list(re.finditer(rb"\d+(\.\d+)?", content[: 2**16])):
        start, end = rng.choice(found).span()
        content[start:end] = rng.choice((b"0", b"-1", b"1e30", b"99999999999999999999", b"nan", b"0.5", b"x"))


def in_child(work: Callable[[Connection], None]) -> tuple[multiprocessing.Process, Connection]:
    """Start a forked process that reports through a pipe."""
    ours, theirs = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=work, args=(theirs,), daemon=True)
    process.start()
    theirs.close()
    return process, ours


def limit_memory() -> None:
    """Limit the memory of this process to what it has and ``MEMORY``."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    most = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def problem_of(read: Callable[[Path], Any], folder: Path) -> str:
    """Read a folder with a damaged file; return what went wrong, or nothing."""
    from anomalib_flows import InputError

    signal.alarm(SECONDS)
    before = peak()
    try:
        read(folder)
    except InputError as error:
        return "more than one line" if "\n" in str(error) else ""
    except BaseException as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__}: {str(error)[:200]} ({Path(place.filename).name}:{place.lineno})"
    finally:
        signal.alarm(0)
    # Some systems do not keep to the limit.
    return f"MemoryError: {(peak() - before) // 10**6} MB" if peak() - before > MEMORY else ""


def peak() -> int:
    """Return the largest memory, in bytes, that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def damage(reader: Reader, whole: Path, folder: Path, seed: int, number: int) -> None:
    """Make a folder whole, but for one file, which a seed and a number determine."""
    rng = random.Random(f"{seed} {number}")  # noqa: S311
    name = reader.files[number % len(reader.files)]
    contents = [(whole / other).read_bytes() for other in reader.files]
    for other, content in zip(reader.files, contents, strict=True):
        (folder / other).write_bytes(mutated(content, contents, rng) if other == name else content)


def fuzz(reader: Reader, whole: Path, seconds: float, seed: int, keep: Path) -> tuple[int, list[Finding]]:
    """Damage and read files for some seconds; return how many, and the findings, whose files are kept."""
    number, findings, end = 0, list[Finding](), time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as made:
        folder = shutil.copytree(whole, Path(made, "x"))

        def work(pipe: Connection) -> None:
            signal.signal(signal.SIGALRM, signal.default_int_handler)
            limit_memory()
            with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stderr(nowhere):
                warnings.simplefilter("ignore")
                for one in range(number, sys.maxsize):
                    damage(reader, whole, folder, seed, one)
                    pipe.send((one, None))
                    pipe.send((one, problem_of(reader.read, folder)))

        while time.monotonic() < end:
            process, pipe = in_child(work)
            for one, problem in results(pipe, end):
                number = one + 1
                if problem:
                    findings.append(Finding(one, problem))
                    damage(reader, whole, shutil.copytree(whole, keep / f"{one}", dirs_exist_ok=True), seed, one)
            process.kill()
            process.join()
    return number, findings


def results(pipe: Connection, end: float) -> Iterator[tuple[int, str]]:
    """Yield the number and the problem of each reading, until the time is over or the process has ended."""
    begun = None
    try:
        while time.monotonic() < end:
            if not pipe.poll(SECONDS + 20):
                yield (begun or 0), "it does not end"
                return
            begun, problem = pipe.recv()
            if problem is not None:
                yield begun, problem
    except EOFError:
        if begun is not None:
            yield begun, "it ends the process"


def main(arguments: list[str] | None = None) -> int:
    """Fuzz some readers, print a table, and return 1 if there are findings."""
    from fuzz_readers import make_readers

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("readers", nargs="+", help="names of readers, or all")
    parser.add_argument("--seconds", type=float, default=10.0, help="time for each reader")
    parser.add_argument("--seed", type=int, default=0, help="determines the damage")
    parser.add_argument("--findings", type=Path, default=Path("findings"), help="folder for files that are findings")
    options = parser.parse_args(arguments)
    found = 0
    with tempfile.TemporaryDirectory() as made:
        readers = make_readers(Path(made))
        names = [*readers] if options.readers == ["all"] else options.readers
        if unknown := [name for name in names if name not in readers]:
            parser.error(f"there is no reader {unknown[0]}: there are {', '.join(readers)}")
        print(f"{'reader':12} {'files':>8} {'findings':>8}")
        for name in names:
            keep = options.findings / name
            count, findings = fuzz(readers[name], Path(made, name), options.seconds, options.seed, keep)
            found += len(findings)
            print(f"{name:12} {count:8} {len(findings):8}", flush=True)
            for finding in findings[:20]:
                print(f"    {keep / str(finding.number)}: {finding.problem}", flush=True)
    return min(found, 1)


if __name__ == "__main__":
    sys.exit(main())
