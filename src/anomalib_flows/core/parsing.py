"""Read text, YAML and JSON of unknown origin within limits."""

from __future__ import annotations

import json
import math
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anomalib_flows.core.errors import InputError

if TYPE_CHECKING:
    import yaml

LARGEST = 2**20
"""Bytes of a configuration."""
MOST_VALUES = 10_000
"""Values of a configuration, with those that aliases repeat: a few lines of aliases may stand for billions."""
TRAP = re.compile(r"[-+]?(0[0-7_]+|[\d_]+:.*)")
"""Numbers that YAML 1.1 reads as octal or as minutes and seconds, and nobody else does."""
KINDS = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}


def require_regular(path: Path) -> None:
    """Raise an InputError for a pipe, socket or device, from which reading might never end."""
    if kind := KINDS.get(stat.S_IFMT(path.stat().st_mode)):
        raise InputError(f"{path} is {kind}: name a regular file.")


def read_text(path: Path, what: str, largest: float = LARGEST) -> str:
    """Read a file of UTF-8 text; ``what`` names its kind in errors.

    Raises:
        InputError: If it is missing, no regular file, too large, or not UTF-8.
    """
    try:
        require_regular(path)
        if path.stat().st_size > largest:
            raise InputError(f"{what} {path} has more than {largest / 2**20:g} MB: name another file.")
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{what} {path} is not UTF-8 text: save it as UTF-8.") from error
    except OSError as error:
        raise InputError(f"{what} {path} cannot be read ({error.strerror}): check the path.") from error


def parse_yaml(text: str, *, quick: bool = False) -> Any:
    """Read YAML's plain types, or raise a ValueError that says what is wrong.

    With ``quick`` libyaml reads it where it is built in, ten times faster; it refuses names that are not UTF-8.
    """
    import yaml  # exported models need none

    try:
        loader = (getattr(yaml, "CSafeLoader", yaml.SafeLoader) if quick else yaml.SafeLoader)(text)
        node = loader.get_single_node()
        if node is None:
            return None
        require_plain(node)
        return loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ValueError(f"line {mark.line + 1}: {error.problem}" if mark else str(error.problem)) from error
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except ValueError:
        raise
    except Exception as error:  # constructors of types raise errors of any kind, as for !!bool maybe
        raise ValueError("a value is not of the type that its tag says") from error


def require_plain(node: yaml.Node) -> None:
    """Raise a ValueError for more values than a configuration has, and for numbers that are not what they look like."""
    if count_values(node, {}) > MOST_VALUES:
        raise ValueError(f"it has more than {MOST_VALUES} values")


def count_values(node: yaml.Node, known: dict[int, float]) -> float:
    """Count the values of a node, with what aliases repeat; one that contains itself has infinitely many.

    Raises:
        ValueError: If a number is not what it looks like.
    """
    if id(node) not in known:
        known[id(node)] = math.inf  # until it is counted
        if node.tag.endswith((":int", ":float")) and TRAP.fullmatch(str(node.value)):
            raise ValueError(
                f"line {node.start_mark.line + 1}: {node.value} is no plain number; text needs quotation marks"
            )
        children = node.value if isinstance(node.value, list) else []
        inner = (part for child in children for part in (child if isinstance(child, tuple) else (child,)))
        known[id(node)] = 1 + sum(count_values(part, known) for part in inner)
    return known[id(node)]


def parse_json(text: str) -> Any:
    """Read JSON, or raise a ValueError that says what is wrong; numbers that are not finite are no JSON."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not a number")


def non_finite(values: Any, name: str = "") -> tuple[str, float] | None:
    """Return the dotted name and the value of a number in plain types that is infinite or NaN, or None."""
    if isinstance(values, float) and not math.isfinite(values):
        return name, values
    items = values.items() if isinstance(values, Mapping) else enumerate(values) if isinstance(values, list) else ()
    found = (non_finite(value, f"{name}.{key}".removeprefix(".")) for key, value in items)
    return next(filter(None, found), None)
