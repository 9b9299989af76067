"""A disk that forgets what was not flushed: which contents a folder may have after a loss of power.

The model is that of POSIX with a journal: a file that was not flushed is empty, cut, or whole; renames and removals
that no flush of their folder followed happened up to any one of them, in their order. It sees flushes and renames by
replacing functions of ``os``, and everything else by listing the folder before each of them.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

WATCHED = ("fsync", "rename", "replace", "rmdir", "unlink", "mkdir")
Tree = dict[str, int | None]
"""Relative paths with the inodes of files; None for folders."""


class Disk:
    """The states that a folder may have after a loss of power at each step of a block."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.content: dict[int, bytes] = {}  # as it is
        self.flushed: dict[int, bytes] = {}  # as it survives
        self.states: list[tuple[list[Tree], dict[int, bytes], dict[int, bytes]]] = []
        self.pending: list[Tree] = [self.look()]  # what the folder was since its last flush
        self.flushed |= self.content

    def look(self) -> Tree:
        """List the folder, and read its files."""
        tree: Tree = {}
        for parent, folders, names in os.walk(self.root):
            tree |= {os.path.relpath(Path(parent, name), self.root): None for name in folders}
            for name in names:
                file = Path(parent, name)
                inode = file.stat().st_ino
                tree[os.path.relpath(file, self.root)] = inode
                self.content[inode] = file.read_bytes()
        return tree

    def step(self, name: str, target: Any) -> None:
        """Note a step that has just been made, and the states that a loss of power after it may leave."""
        tree = self.look()
        if tree != self.pending[-1]:
            self.pending.append(tree)
        if name == "fsync":
            state = os.fstat(target)
            if state.st_ino in self.content and not stat.S_ISDIR(state.st_mode):
                self.flushed[state.st_ino] = self.content[state.st_ino]
            else:
                self.pending = [tree]
        self.states.append((list(self.pending), dict(self.content), dict(self.flushed)))

    def after_power_loss(self, folder: Path) -> Iterator[Path]:
        """Make each state that the folder may have, one after the other, in another folder."""
        for trees, content, flushed in self.states:
            for tree in trees:
                for lost in (lambda all_: b"", lambda all_: all_[: len(all_) // 2], lambda all_: all_):
                    shutil.rmtree(folder, ignore_errors=True)
                    folder.mkdir()
                    for path, inode in tree.items():
                        if inode is None:
                            (folder / path).mkdir(parents=True, exist_ok=True)
                            continue
                        (folder / path).parent.mkdir(parents=True, exist_ok=True)
                        survives = flushed[inode] if inode in flushed else lost(content[inode])
                        (folder / path).write_bytes(survives)
                    yield folder


@contextmanager
def forgetful(root: Path) -> Iterator[Disk]:
    """Watch a folder during the block."""
    disk = Disk(root)
    with pytest.MonkeyPatch.context() as patch:
        for name in WATCHED:
            patch.setattr(os, name, watched(disk, name, getattr(os, name)))
        yield disk
    disk.step("end", None)


def watched(disk: Disk, name: str, function: Any) -> Any:
    def call(*arguments: Any, **named: Any) -> Any:
        result = function(*arguments, **named)
        disk.step(name, arguments[0])
        return result

    return call
