"""Know an image by its content: digests, images of the same content, and images that look nearly the same."""

from __future__ import annotations

import re
import warnings
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping
from pathlib import Path
from typing import get_args

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.remember import remembered
from anomalib_flows.core.store import digest_of
from anomalib_flows.core.types import Sample, Split


def digests(paths: Iterable[Path]) -> dict[Path, str]:
    """Return the SHA-256 digest of each file; one that cannot be read has none."""
    wanted = sorted(set(paths))
    found = remembered("sha256", _digest, wanted, "comparing", is_digest)
    return {path: digest for path, digest in zip(wanted, found, strict=True) if isinstance(digest, str)}


def is_digest(value: object) -> bool:
    """Return whether a value is the text of a digest."""
    return isinstance(value, str) and bool(re.fullmatch("[0-9a-f]{64}", value))


def _digest(path: Path) -> str:
    try:
        return digest_of(path)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): check the path.") from error


def find_duplicates(paths: Iterable[Path]) -> dict[Path, Path]:
    """Return for each file that has the content of another one the first such file, in the order of paths.

    Only files of the same size are read. A file that cannot be read is no duplicate.
    """
    alike = [path for group in _groups(sorted(set(paths)), _size) for path in group]
    known = digests(alike)
    return {path: group[0] for group in _groups(alike, known.get) for path in group}


def _groups(paths: Iterable[Path], key: Callable[[Path], Hashable]) -> list[list[Path]]:
    """Group paths by a key, in their order; groups of one path and paths without a key are left out."""
    groups = defaultdict(list)
    for path in paths:
        groups[key(path)].append(path)
    return [group for value, group in groups.items() if value is not None and len(group) > 1]


def held_together(training: Iterable[Path], own: Mapping[Path, Path], same: Mapping[Path, Path]) -> Mapping[Path, Path]:
    """Return the groups of training images that are held out as a whole: copies, and what the dataset keeps together.

    If copies, such as black frames in all videos, make one group of everything, the dataset's groups remain.
    """
    groups = united(same, own)
    return groups if len({groups.get(path, path) for path in training}) > 1 else {**same, **own}


def united(*groupings: Mapping[Path, Path]) -> dict[Path, Path]:
    """Unite groupings, each of which names a group by a path: groups that share an image become one."""
    parent: dict[Path, Path] = {}

    def root(path: Path) -> Path:
        while (above := parent.setdefault(path, path)) != path:
            path = above
        return path

    for grouping in groupings:
        for path, group in grouping.items():
            parent[root(path)] = root(group)
    return {path: root(path) for path in list(parent)}


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def warn_of_leaks(samples: list[Sample], same: Mapping[Path, Path]) -> None:
    """Warn of images whose content, by :func:`find_duplicates`, is also in an earlier split."""
    first: dict[Path, Sample] = {}
    leaks = defaultdict(list)
    for sample in sorted(samples, key=lambda sample: get_args(Split).index(sample.split)):
        if sample.path in same:
            before = first.setdefault(same[sample.path], sample)
            leaks[sample.split, before.split].append((sample.path, before.path))
    for (split, known), pairs in leaks.items():
        if split != known:
            warnings.warn(
                f"{len(pairs)} images of the split {split} have the same content as images of {known} (the first: "
                f"{pairs[0][0]} and {pairs[0][1]}), which the detector knows: keep each in one of the two.",
                stacklevel=3,
            )
