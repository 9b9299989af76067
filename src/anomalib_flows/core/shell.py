"""Command lines as they are typed in a shell."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path


def typed(*words: object) -> str:
    """Write a command line as it is typed: quoted for the shell, with paths in the current folder shortened.

    Example:
        >>> typed("predict", Path("my run"), "--input", "PHOTOS")
        "anomalib-flows predict 'my run' --input PHOTOS"
    """
    return command_line("anomalib-flows", *words)


def command_line(*words: object) -> str:
    """Write a command line of any program; see :func:`typed`."""
    texts = [path_text(word) if isinstance(word, Path) else str(word) for word in words]
    return subprocess.list2cmdline(texts) if os.name == "nt" else shlex.join(texts)


def path_text(path: Path) -> str:
    """Return a path from the current folder if it is in it; it never looks like an option."""
    here = Path.cwd()
    text = str(path.relative_to(here) if path.is_relative_to(here) else path)
    return str(Path(".", text)) if not text.startswith("-") else f".{os.sep}{text}"
