"""Names of the pictures that belong to image files."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path


def relative(path: Path, root: Path) -> Path:
    """Return the path below ``root``; for a file elsewhere the whole path, without its drive or leading slash.

    Example:
        >>> relative(Path("/data/tiles/test/crack/1.png"), Path("/data/tiles")).as_posix()
        'test/crack/1.png'
    """
    # Not resolve: a folder of links to images keeps its own names.
    path, root = (Path(os.path.normpath(p.absolute())) for p in (path, root))
    return path.relative_to(root if path.is_relative_to(root) else path.anchor)


def common_root(paths: Sequence[Path]) -> Path:
    """Return the deepest folder that holds all files."""
    return Path(os.path.commonpath([path.absolute().parent for path in paths]))


def unique_names(paths: Sequence[Path], suffix: str) -> list[Path]:
    """Replace the suffix of each file, or append the new one throughout a folder where two names would be equal.

    Args:
        paths: Different relative paths.
        suffix: The new suffix with its dot.

    Example:
        >>> paths = [Path("x/a.jpg"), Path("y/a.jpg"), Path("y/a.png")]
        >>> [name.as_posix() for name in unique_names(paths, ".png")]
        ['x/a.png', 'y/a.jpg.png', 'y/a.png.png']
    """
    replaced = [path.with_suffix(suffix) for path in paths]
    # Windows and macOS do not distinguish A.png from a.png.
    counts = Counter(str(name).casefold() for name in replaced)
    ambiguous = {str(name.parent).casefold() for name in replaced if counts[str(name).casefold()] > 1}
    appended = [path.with_name(path.name + suffix) for path in paths]
    return [a if str(a.parent).casefold() in ambiguous else r for a, r in zip(appended, replaced, strict=True)]
