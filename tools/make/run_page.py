"""Run the command blocks of a page in a folder, and copy the pictures that the page shows.

    python tools/make/run_page.py docs/tutorial.md FOLDER

Blocks of ``sh`` and ``python`` run in their order, except for lines that install. A comment ``<!-- from FILE -->``
above a picture names the file that it is made from.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from textwrap import dedent
from typing import Any

from PIL import Image

from anomalib_flows.cli.app import main

WIDTH = 900
"""Largest width of a picture, in pixels."""
INSTALLING = re.compile(r"\bpip install\b|-m venv|/activate\b")

Command = Callable[[Sequence[str]], int]


def run_blocks(text: str, command: Command = main) -> None:
    """Run the blocks of a page in the current folder.

    Args:
        text: The page.
        command: Function that runs ``anomalib-flows`` with the given arguments and returns its exit code.

    Raises:
        subprocess.CalledProcessError: A command failed.
    """
    known: dict[str, Any] = {}
    for language, code in re.findall(r"^ *```(sh|python)\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL):
        if language == "python":
            exec(dedent(code), known)  # noqa: S102
            continue
        for line in dedent(code).replace("\\\n", " ").splitlines():
            if not INSTALLING.search(line):
                run_line(line, command)


def run_line(line: str, command: Command) -> None:
    """Run a line: ``anomalib-flows`` in this process, an assignment of a variable, or anything else in a shell."""
    line, _, output = line.partition(" > ")
    if assigned := re.fullmatch(r"(\w+)=(\S+)", line):
        os.environ[assigned[1]] = assigned[2]
        return
    words = [os.path.expandvars(word) for word in shlex.split(line, comments=True)]
    if words[:1] != ["anomalib-flows"]:
        subprocess.run(line, shell=True, check=True)  # noqa: S602
        return
    with Path(output).open("w") if output else nullcontext(sys.stdout) as stream, redirect_stdout(stream):
        code = exit_code(command, words[1:])
    if code:
        raise subprocess.CalledProcessError(code, line)


def exit_code(command: Command, words: Sequence[str]) -> int:
    """Run a command; some options, such as ``--print_config``, end it by SystemExit."""
    try:
        return command(words)
    except SystemExit as stopped:
        return int(stopped.code or 0)


def copy_pictures(page: Path, folder: Path) -> None:
    """Scale the pictures that a page takes from a folder, and write them where the page shows them."""
    named = re.findall(r"<!-- from (\S+) -->\n!\[[^\]]*\]\((\S+)\)", page.read_text(encoding="utf-8"))
    for source, target in named:
        picture = Image.open(folder / source).convert("RGB")
        picture.thumbnail((WIDTH, 10 * WIDTH))
        (page.parent / target).parent.mkdir(parents=True, exist_ok=True)
        picture.save(page.parent / target, quality=75)


if __name__ == "__main__":
    page, folder = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
    folder.mkdir(parents=True)
    os.chdir(folder)
    run_blocks(page.read_text(encoding="utf-8"))
    copy_pictures(page, folder)
