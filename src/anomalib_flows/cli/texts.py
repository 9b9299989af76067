"""Texts and paths, kept from being read as YAML's other types.

jsonargparse reads each value as YAML, in which ``2024-01-05`` is a date, ``01`` a number and ``null`` nothing. So the
values of options that take text or paths are replaced by tokens before parsing, and put back afterwards.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.parsing import TRAP

ELEMENT = re.compile(r"""\s*("[^"]*"|'[^']*'|[^,]*?)\s*(?:,|$)""")
"""Element of a typed list, with the comma that ends it."""


class Texts:
    """Tokens in place of the values of options that take text or paths.

    Args:
        types: Types of all options, by dotted names such as ``data.root``.
        positional: Name of the argument without dashes; empty if there is none.
        flags: Names of the options that take no value.
        root: Folder that paths in lists may be relative to.
    """

    def __init__(self, types: Mapping[str, Any], positional: str, flags: Collection[str], root: str) -> None:
        self.types = {name: annotation for name, annotation in types.items() if takes_text(annotation)}
        self.positional, self.flags, self.root = positional, flags, root
        self.kept: list[str] = []
        self.prefix = f"text-{os.urandom(8).hex()}-"

    def hide_words(self, words: Sequence[str]) -> list[str]:
        """Replace the values in a normalised command line.

        Raises:
            InputError: If an option has no value.
        """
        hidden: list[str] = []
        name, empty = self.positional, ""  # of the next value; the option that still needs one
        for word in [*words, "--"]:
            if word.startswith("-") and word != "-":
                if empty:
                    raise InputError(f"{empty} needs a value: write {empty}=VALUE.")
                option, has_value, value = word.partition("=")
                name = key_of(option.lstrip("-"))
                hidden.append(f"{option}={self._typed(value, name)}" if has_value else word)
                done = bool(has_value) or name in self.flags
                empty = option if name in self.types and not done else ""
            else:
                hidden.append(self._typed(word, name))
                done = name not in self.types or get_origin(self.types[name]) is not list  # several words otherwise
                empty = ""
            name = self.positional if done else name
        return hidden[:-1]

    def hide_fields(self, content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
        """Replace the values in a configuration.

        Raises:
            InputError: If YAML reads a text as another type.
        """
        return {
            key: self.hide_fields(value, f"{prefix}{key}.")
            if isinstance(value, Mapping)
            else self._field(value, key_of(f"{prefix}{key}"))
            for key, value in content.items()
        }

    def restore(self, value: Any) -> Any:
        """Put the texts back into parsed options, or into a message."""
        if isinstance(value, Mapping):
            return {key: self.restore(one) for key, one in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(self.restore(one) for one in value)
        if isinstance(value, str | Path):
            return type(value)(re.sub(rf"{self.prefix}(\d+)", lambda found: self.kept[int(found[1])], str(value)))
        return value

    def _hide(self, text: str) -> str:
        self.kept.append(text)
        return f"{self.prefix}{len(self.kept) - 1}"

    def _typed(self, word: str, name: str) -> str:
        """Hide a typed value, or each element of a typed list unless a file or folder has exactly that name."""
        if not word:
            raise InputError(f"{'' if name == self.positional else '--'}{name} is empty: give it a value.")
        if name not in self.types:
            return require_plain_number(word, name)
        if word[:1] + word[-1:] == "[]" and takes_list(self.types[name]) and not self._exists(word):
            return f"[{','.join(map(self._hide, elements(word)))}]"
        return self._hide(word)

    def _exists(self, word: str) -> bool:
        return os.path.exists(os.path.join(self.root, word))  # noqa: PTH110, PTH118 (pathlib raises for long names)

    def _field(self, value: Any, name: str) -> Any:
        if name not in self.types or value is None:
            return value
        if isinstance(value, list):
            return [self._field(one, name) for one in value]
        if not isinstance(value, str):
            raise InputError(
                f"{name} in the configuration is {value}, which YAML reads as {type(value).__name__} and not as text: "
                "put it in quotation marks."
            )
        return self._hide(value)


def require_plain_number(word: str, name: str) -> str:
    """Return a word; raise an InputError for 010 and 1:30, which YAML reads as 8 and 90."""
    if TRAP.fullmatch(word):
        raise InputError(f"--{name} cannot be {word}: write a plain number, without a leading zero or a colon.")
    return word


def key_of(name: str) -> str:
    """Return the name of an option as its users know it: ``data.root`` for ``data.init_args.root``."""
    return name.removesuffix("+").replace(".init_args.", ".")


def elements(typed: str) -> list[str]:
    """Return the elements of a typed list.

    Example:
        >>> elements("[01, null, 'a, b']")
        ['01', 'null', 'a, b']
    """
    found = [match[1] for match in ELEMENT.finditer(typed[1:-1])]
    unquoted = [one[1:-1] if one[:1] in ("'", '"') and one[:1] == one[-1:] else one for one in found]
    return unquoted if unquoted[-1] else unquoted[:-1]  # after the last comma, or in an empty list


def takes_text(annotation: Any) -> bool:
    """Return whether a type is text or a path, or a union of these, words, None and lists of texts.

    Example:
        >>> takes_text(Path | list[Path] | None), takes_text(int | str), takes_text(Literal["a", "b"])
        (True, False, False)
    """
    found = [one for one in members(annotation) if one is not NoneType and get_origin(one) is not Literal]
    return bool(found) and all(one in (str, Path) or is_text_list(one) for one in found)


def takes_list(annotation: Any) -> bool:
    """Return whether a type may be a list of texts."""
    return any(map(is_text_list, members(annotation)))


def is_text_list(annotation: Any) -> bool:
    """Return whether a type is a list of texts."""
    return get_origin(annotation) in (list, tuple, Sequence) and {*get_args(annotation)} <= {str, Path, ...}


def members(annotation: Any) -> list[Any]:
    """Return the members of a union, or a type alone."""
    if get_origin(annotation) not in (Union, UnionType):
        return [annotation]
    return [member for one in get_args(annotation) for member in members(one)]
