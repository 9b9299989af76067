"""What is asked of every refusal: one plain sentence, exit code 2, in time, and nothing written or changed."""

from __future__ import annotations

import os
import re
import resource
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from anomalib_flows.cli import main

TRAIN = [
    "train",
    *("--model=fastflow", "--model.backbone=test_efficientnet", "--model.weights=random", "--model.steps=1"),
    *("--image.size=32", "--trainer.max_epochs=1", "--trainer.accelerator=cpu"),
    *("--data=mvtec", "--data.root=data", "--data.category=nut"),
]
"""A training that takes no longer than it must."""
SECONDS = 20.0
"""Time for one command on a busy machine; alone none takes more than a few seconds."""
MEMORY = 2 * 2**30
"""Bytes by which a command that is refused may raise the peak of the process."""
JARGON = re.compile(
    r"Parser key|Union|Subtypes|<class|NoneType|\bNone\b|Traceback|Errno|[a-z]Error\b|Exception|pydantic|jsonargparse"
    r"|\b(int|str|dict|tuple|bool|float|bytes|datetime|Sequence|Mapping|Namespace|init_args|class_path|kwargs)\b"
    r"|Input should|validate\b|[Vv]alidator|instantiat|object at 0x|\\x00|not iterable|unhashable|positional argument"
)
"""Words of Python and of libraries."""


class HangError(BaseException):
    """A command took too long; no handler of errors may take it for one."""


@contextmanager
def time_limit(seconds: float = SECONDS) -> Iterator[None]:
    """Raise HangError in the block after some seconds."""

    def stop(number: int, frame: object) -> None:
        raise HangError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    """Return the size and the time of change of everything in a folder, by path."""
    found: dict[str, tuple[int, int]] = {}
    for parent, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            state = os.lstat(os.path.join(parent, name))  # noqa: PTH118 (a thousand times)
            found[os.path.relpath(os.path.join(parent, name), folder)] = (state.st_size, state.st_mtime_ns)  # noqa: PTH118
    return found


def refused(capsys, folder: Path, argv: Sequence[object], *names: str) -> str:
    """Run a command line that must be refused, and return the sentence.

    One of the names, in any case and with either kind of hyphen, stands in it. The folder stays as it is.
    """
    before, peak = snapshot(folder), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    capsys.readouterr()
    with time_limit():
        code = main([str(word) for word in argv])
    printed = capsys.readouterr()
    lines = [line for line in printed.err.splitlines() if line and not line.startswith("warning: ")]
    assert code == 2, (code, printed)
    assert len(lines) == 1, printed.err
    assert lines[0].startswith("error: "), printed.err
    said = lines[0].removeprefix("error: ")
    keep(argv, said)
    assert said[-1] in ".?" or "Type: " in said, said
    assert 15 < len(said) < 600, said
    assert not (found := JARGON.search(said)), (said, found)
    assert not names or any(name.lower() in said.lower() for name in names), (names, said)
    assert snapshot(folder) == before
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) * 1024 < MEMORY
    return said


def keep(argv: Sequence[object], said: str) -> None:
    """Append the sentence to the file that BAD_INPUT_SENTENCES names, to be read by a person."""
    if file := os.environ.get("BAD_INPUT_SENTENCES"):
        with Path(file).open("a", encoding="utf-8", errors="backslashreplace") as stream:
            stream.write(f"{' '.join(map(str, argv))!r}\n    {said!r}\n")
